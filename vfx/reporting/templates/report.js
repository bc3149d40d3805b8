"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const dialog = document.getElementById("large");
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  /** A picture of the page's store, by its name; null where there is none. */
  const picture = (name) => {
    const image = name && document.getElementById(name);
    if (!image) return null;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${image.getAttribute("width")} ${image.getAttribute("height")}`);
    svg.setAttribute("class", "pic");
    const use = document.createElementNS(SVG, "use");
    use.setAttribute("href", `#${name}`);
    svg.append(use);
    return svg;
  };
  const show = (title, parts) => {
    const heading = make("h3", title);
    heading.id = "large-title";
    dialog.querySelector(".body").replaceChildren(heading, ...parts.filter(Boolean));
    tip.hidden = true;
    if (!dialog.open) dialog.showModal();
  };
  const enlarge = ([id, time, name]) =>
    show(id, [picture(name) || make("p", "There is no picture of it.", "absent"), time && make("p", `at ${time}`, "time")]);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  for (const figure of document.querySelectorAll("[data-map]")) {
    const { points } = data[figure.dataset.map];
    const map = figure.querySelector(".map");
    const dots = [...map.querySelectorAll(".dot")];
    let current = -1;
    const light = (group) => {
      map.classList.toggle("lit", group >= 0);
      dots.forEach((dot, i) => dot.classList.toggle("same", points[i][3] === group));
    };
    const point = (i, x, y) => {
      current = i;
      dots.forEach((dot, n) => dot.classList.toggle("at", n === i));
      light(i < 0 ? -1 : points[i][3]);
      tip.hidden = i < 0;
      if (i < 0) return;
      const [id, time, name] = points[i];
      tip.replaceChildren(...[picture(name), make("b", id), time && make("span", time, "time")].filter(Boolean));
      const room = document.documentElement;
      tip.style.left = `${Math.max(4, Math.min(x + 14, room.clientWidth - tip.offsetWidth - 4))}px`;
      tip.style.top = `${y + 18 + tip.offsetHeight > room.clientHeight ? Math.max(4, y - tip.offsetHeight - 14) : y + 18}px`;
    };
    const found = (event) => {
      const held = event.target.closest("[data-i]");
      return held ? Number(held.dataset.i) : -1;
    };
    map.addEventListener("pointermove", (event) => point(found(event), event.clientX, event.clientY));
    map.addEventListener("pointerleave", () => point(-1));
    map.addEventListener("blur", () => point(-1));
    map.addEventListener("click", (event) => found(event) >= 0 && enlarge(points[found(event)]));
    map.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) {
        const next = (current + step + points.length) % points.length;
        const box = dots[next].getBoundingClientRect();
        point(next, box.right, box.bottom);
      } else if ((event.key === "Enter" || event.key === " ") && current >= 0) enlarge(points[current]);
      else if (event.key === "Escape") point(-1);
      else return;
      event.preventDefault();
    });
    for (const button of figure.querySelectorAll(".legend button")) {
      const group = Number(button.dataset.g);
      button.addEventListener("pointerenter", () => light(group));
      button.addEventListener("pointerleave", () => light(-1));
      button.addEventListener("focus", () => light(group));
      button.addEventListener("blur", () => light(-1));
    }
  }

  for (const list of document.querySelectorAll("[data-strips]")) {
    list.addEventListener("click", (event) => {
      const button = event.target.closest("[data-strip]");
      if (!button) return;
      const strip = data[list.dataset.strips].strips[button.dataset.strip];
      const small = button.querySelector("img");
      const matrix = small ? small.cloneNode() : make("p", "A single frame is like itself.", "absent");
      matrix.classList.add("matrix");
      const axis = make("p", "", "axis");
      axis.append(make("span", strip.first), make("span", strip.last));
      const row = make("div", "", "row");
      for (const [time, name] of strip.pictures) {
        const each = make("figure");
        each.append(picture(name), make("figcaption", time, "time"));
        row.append(each);
      }
      show(strip.video, [matrix, axis, make("p", `${strip.frames} against each other, by time.`, "caption"), row]);
    });
  }

  for (const list of document.querySelectorAll("[data-pairs]")) {
    list.addEventListener("click", (event) => {
      const side = event.target.closest("[data-i]");
      if (side) enlarge(data[list.dataset.pairs].points[side.dataset.i]);
    });
  }

  for (const details of document.querySelectorAll("[data-failures]")) {
    const field = details.querySelector("input");
    const rows = [...details.querySelectorAll("tbody tr")];
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        count += !row.hidden;
      }
      details.querySelector("output").textContent = words.length ? `${count} of ${rows.length}` : "";
    });
  }

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
})();
