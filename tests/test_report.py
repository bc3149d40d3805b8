"""The report as its readers meet it: in a real browser, on a desk, on a phone and in the dark, and its numbers."""

import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.browser import CHROMIUM, DRIVER, Browser, browser
from tests.conftest import FEATURE, TOYDATA
from tests.feature_files import write_frames
from vfx import concat, export, import_bigfile, pool, report
from vfx.analysis.rows import normalize
from vfx.errors import OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.outputs import throughput
from vfx.report import split_names
from vfx.reporting.html_page import TEMPLATES

HOSTILE = "hostile,<b>x"
EVIL = """</script><img/src=x/onerror=document.title="owned">'"&{{7*7}}"""
in_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, toy_features: FeatureFile) -> Path:
    """Outputs that hold the toy feature, one of video level made of it, and one whose every text means harm."""
    folder = tmp_path_factory.mktemp("reported")
    shutil.copytree(toy_features.path.parent, folder / "toydata" / FEATURE)
    pool.main("collection=toydata", f"feature={FEATURE}", f"output_dir={folder}")
    provenance = json.dumps({"recipe": {"model": EVIL, EVIL: 1}, "weights": {"licence": EVIL}})
    rows = np.random.default_rng(0).normal(size=(30, 7, 16)).astype("f4")
    rows[..., 3], rows[..., 5] = 0, 2
    path = write_frames(
        folder / "gone" / HOSTILE / "features.h5",
        {
            f"v{v:02}{EVIL.replace('/', '')}": Rows(each, np.arange(7), np.full(7, np.nan))
            for v, each in enumerate(rows)
        },
        failures=[Failure(f"x{n:04}{EVIL}", ("open", "decode")[n % 2], EVIL) for n in range(600)],
        feature=HOSTILE,
        collection=EVIL,
        config=EVIL,
        provenance=provenance,
    )
    shutil.copytree(path.parent, folder / "gone" / "other")
    return folder


def made(outputs: Path, *overrides: str) -> Path:
    return report.main(f"output_dir={outputs}", f"rootpath={TOYDATA.parent}", *overrides)


@pytest.fixture(scope="module")
def toy_page(outputs: Path) -> Path:
    return made(outputs, "collection=toydata", f"feature={FEATURE}")


@pytest.fixture(scope="module")
def hostile_page(outputs: Path) -> Path:
    return made(outputs, "collection=gone", f"feature={HOSTILE}")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


class Reader(HTMLParser):
    """The texts of a page outside its script and styles, and its elements."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.texts.append(data)

    @property
    def tiles(self) -> dict[str, str]:
        found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", self.rawdata_of)
        return dict(found)

    def feed(self, data: str) -> None:
        self.rawdata_of = data
        super().feed(data)


def test_a_concatenation_tells_the_weights_of_its_parts(outputs: Path) -> None:
    concat.main("collection=toydata", f"features=mean_{FEATURE}+mean_{FEATURE}", f"output_dir={outputs}")
    both = made(
        outputs, "collection=toydata", f"feature=mean_{FEATURE}+mean_{FEATURE}", f"output={outputs / 'both.html'}"
    )
    assert Reader(both).tiles["licence of the weights"] == "Apache-2.0"
    assert f"parts.mean_{FEATURE}.sha256" in both.read_text(encoding="utf-8")


def test_the_page_says_what_numpy_says(toy_page: Path, outputs: Path, toy_features: FeatureFile) -> None:
    assert toy_page == outputs / "toydata" / FEATURE / "report.html"
    shown = Reader(toy_page)
    rows = toy_features.features[:]
    norms = np.linalg.norm(rows.astype("f8"), axis=1)
    tiles = shown.tiles
    assert (tiles["videos"], tiles["frames"], tiles["dimensions"]) == ("8", "59", "1,280")
    assert tiles["norm"] == f"{norms.mean():.3g} ± {norms.std():.3g}"
    assert tiles["dead dimensions"] == str(((rows == rows[0]).all(axis=0)).sum())
    assert (tiles["licence of the weights"], tiles["failures"]) == ("Apache-2.0", "0")
    lasts = toy_features.seconds[toy_features.offsets[1:] - 1]
    assert tiles["video"] == f"{lasts.sum():.1f} s"
    unit_rows = normalize(rows)
    videos = np.array([id.rpartition("_")[0] for id in toy_features.ids])
    alike = np.argwhere(np.triu(unit_rows @ unit_rows.T >= 0.95, 1) & (videos[:, None] != videos[None]))
    pairs = {tuple(sorted(videos[pair])) for pair in alike}
    assert tiles["near-duplicates"] == str(len(pairs))
    assert pairs == {("coffee", "coffee_phone")}
    assert "sampler.name half_second" in shown.text
    assert "None: all could be read whole." in shown.text
    assert len([tag for tag, _ in shown.tags if tag == "image"]) == 59


def test_everything_in_a_page_stands_in_it(toy_page: Path, hostile_page: Path) -> None:
    for shown in map(Reader, (toy_page, hostile_page)):
        for _, attributes in shown.tags:
            for name in ("href", "src", "srcset", "action", "xlink:href"):
                assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
            assert not any(name.startswith("on") for name in attributes)
        assert [tag for tag, _ in shown.tags].count("script") == 2
        policy = next(a["content"] for t, a in shown.tags if t == "meta" and "http-equiv" in a)
        assert policy is not None
        assert policy.startswith("default-src 'none'; img-src data:;")


def shows(chromium: Browser, page: Path, width: int, dark: bool, shot: Path) -> None:
    """A page shows without an error, a request or a sidewise scroll."""
    chromium.open(page, width=width, height=800, dark=dark)
    assert chromium.js("document.documentElement.scrollWidth") == width
    assert chromium.shoot(shot).stat().st_size > 20_000
    assert chromium.errors() == []
    assert {url.rpartition("/")[2] for url in chromium.requests()} == {"report.html"}


@in_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (375, False), (375, True)])
def test_it_shows_without_an_error_a_request_or_a_sidewise_scroll(
    chromium: Browser, toy_page: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    shows(chromium, toy_page, width, dark, tmp_path / "shot.png")
    paper = chromium.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == dark


@in_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (375, True)])
def test_features_side_by_side_show_so_too(
    chromium: Browser, outputs: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    both = made(
        outputs, "collection=toydata", f"features={FEATURE}+mean_{FEATURE}", f"output={tmp_path / 'report.html'}"
    )
    shows(chromium, both, width, dark, tmp_path / "shot.png")
    assert chromium.js("document.querySelectorAll('.map').length") == 2


@in_browser
def test_what_is_pointed_at_is_told_and_what_is_clicked_enlarged(chromium: Browser, toy_page: Path) -> None:
    chromium.open(toy_page, width=1280, height=900)
    dots = chromium.js("document.querySelectorAll('.map .dot').length")
    assert dots == 59
    place = "document.querySelectorAll('.map .dot')[20]"
    chromium.js(f"{place}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = chromium.js(f"{place}.getBoundingClientRect().toJSON()")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    chromium.mouse("mouseMoved", x, y)
    id = chromium.js("JSON.parse(document.getElementById('data').textContent)[0].points[20]")[0]
    assert chromium.js("document.getElementById('tip').hidden") is False
    assert id in chromium.js("document.getElementById('tip').textContent")
    assert chromium.js("document.querySelectorAll('.dot.same').length") > 1
    chromium.click(x, y)
    assert chromium.js("document.getElementById('large').open")
    assert chromium.js("document.querySelector('#large h3').textContent") == id
    width = chromium.js("document.querySelector('#large .pic').getBoundingClientRect().width")
    assert width > 300
    chromium.js("document.querySelector('#large form button').click()")
    assert not chromium.js("document.getElementById('large').open")
    chromium.js("document.querySelector('[data-strip=\"2\"]').click()")
    assert chromium.js("document.querySelector('#large h3').textContent") == "cat"
    assert chromium.js("document.querySelector('#large .matrix').naturalWidth") == 11
    assert chromium.js("document.querySelectorAll('#large .row .pic').length") == 5
    chromium.js("document.getElementById('large').close()")
    chromium.js("document.querySelector('.pairs .side').click()")
    assert chromium.js("document.querySelector('#large h3').textContent").startswith("coffee")
    assert chromium.errors() == []


@in_browser
def test_failures_can_be_searched_and_harm_is_text(chromium: Browser, hostile_page: Path) -> None:
    chromium.open(hostile_page, width=375, height=800)
    visible = "[...document.querySelectorAll('[data-failures] tbody tr')].filter((row) => !row.hidden).length"
    assert chromium.js(visible) == 500
    assert "The first 500 of 600" in chromium.js("document.getElementById('failures').textContent")
    chromium.type("[data-failures] input", "open x00")
    assert chromium.js(visible) == 50
    assert chromium.js("document.querySelector('[data-failures] output').textContent") == "50 of 500"
    assert chromium.js("document.title") == f"{HOSTILE} of {EVIL}"
    assert chromium.js("document.querySelectorAll('img:not([src^=\"data:\"]), body b b').length") == 0
    chromium.js("document.querySelector('.dot').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert EVIL.replace("/", "") in chromium.js("document.querySelector('#large h3').textContent")
    assert "There is no picture of it." in chromium.js("document.querySelector('#large').textContent")
    assert chromium.js("document.documentElement.scrollWidth") == 375
    assert chromium.errors() == []


def test_where_the_videos_are_gone_and_times_unknown_the_page_says_so(hostile_page: Path) -> None:
    shown = Reader(hostile_page)
    assert "There are no pictures in this page: the videos of" in shown.text
    assert "video" not in shown.tiles  # no length of it is known
    assert shown.tiles["dead dimensions"] == "2"
    assert "1 never is: 3." in shown.text
    assert "1 constant: 5." in shown.text
    assert "there is no throughput.tsv" in shown.text
    assert "16 of 30 videos, drawn with seed 0" in shown.text


def test_at_video_level_what_makes_no_sense_is_left_out_with_a_word(outputs: Path) -> None:
    shown = Reader(made(outputs, "collection=toydata", f"feature=mean_{FEATURE}"))
    assert shown.tiles["videos"] == "8"
    assert "This feature is of video level" in shown.text
    assert len([tag for tag, _ in shown.tags if tag == "image"]) == 8
    assert "data-strip" not in {name for _, attributes in shown.tags for name in attributes}


def test_features_stand_side_by_side(outputs: Path) -> None:
    path = made(outputs, "collection=toydata", "pictures=4", f"features={FEATURE}+mean_{FEATURE}")
    assert path == outputs / "toydata" / "report.html"
    shown = Reader(path)
    assert [a["data-map"] for t, a in shown.tags if "data-map" in a] == ["0", "1"]
    assert "2 features side by side" in shown.text
    assert [a.get("class") for t, a in shown.tags if t == "tr"].count("differs") > 3
    assert len([tag for tag, _ in shown.tags if tag == "image"]) == 4
    assert made(outputs, "collection=toydata", "pictures=0") == path


def test_any_file_is_reported_beside_itself(outputs: Path, tmp_path: Path) -> None:
    copied = shutil.copy(outputs / "toydata" / FEATURE / "features.h5", tmp_path)
    for given in (copied, tmp_path):
        assert made(tmp_path, f"file={given}", "pictures=1") == tmp_path / "report.html"
    shown = Reader(tmp_path / "report.html")
    assert len([tag for tag, _ in shown.tags if tag == "image"]) == 1  # of the collection that the file names
    hostile = made(tmp_path, f"file={outputs / 'gone' / HOSTILE}", f"output={tmp_path / 'hostile.html'}")
    assert "There are no pictures in this page" in Reader(hostile).text


def test_of_an_import_the_page_tells_where_it_came_from(outputs: Path, tmp_path: Path) -> None:
    given = ["collection=toydata", f"output_dir={tmp_path}"]
    shutil.copytree(outputs / "toydata" / FEATURE, tmp_path / "toydata" / FEATURE)
    bigfile = export.main(*given, f"feature={FEATURE}", "format=bigfile", f"destination={tmp_path / 'bigfile'}")
    import_bigfile.main(*given, f"source={bigfile}", "feature=again")
    assert str(bigfile) in Reader(made(tmp_path, "collection=toydata", "feature=again", "pictures=0")).text


@pytest.mark.parametrize(
    ("features", "there", "names"),
    [
        ("A+B", ["A", "A+B", "B"], ["A", "B"]),
        ("A+B+C", ["A+B", "C"], ["A+B", "C"]),
        ("A+B", ["B"], ["A", "B"]),
        ("a,b+c,d+e", ["a,b", "c,d+e"], ["a,b", "c,d+e"]),
    ],
)
def test_names_that_hold_a_plus_are_known_by_what_is_there(features: str, there: list[str], names: list[str]) -> None:
    assert split_names(features, there) == names


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["feature=no"], OutputError, "no .*no/features.h5; .* has efficientnet"),
        (["features=a+a"], UsageError, "names a feature twice"),
        (["feature=a", "features=b"], UsageError, "not both"),
        (["feature=a", "videos=9999"], UsageError, r"videos \(9999\) must be a whole number from 0 to 64"),
        (["feature=a", "duplicate=2"], UsageError, r"duplicate \(2\) must be a cosine"),
        ([f"feature={FEATURE}", "output=/no/such/folder/x.html"], UsageError, "in a folder that is there"),
        (["file=x.h5"], UsageError, r"give either collection=\.\.\. or file=\.\.\."),
        (["collection=null"], UsageError, r"give either collection=\.\.\. or file=\.\.\."),
        (["collection=null", "file=/no/x.h5"], OutputError, r"file \(/no/x\.h5\) is not there"),
        (["collection=null", "file=x.h5", "feature=a"], UsageError, "go with collection="),
    ],
)
def test_what_cannot_be_reported_is_said(
    outputs: Path, overrides: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(outputs, "collection=toydata", *overrides)


def test_without_its_extra_the_command_that_installs_it_is_named(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"vfx.report needs jinja2: pip install 'vfx\[report\]'"):
        made(outputs, "collection=toydata")


def test_the_work_of_several_runs_is_drawn(outputs: Path, toy_features: FeatureFile, tmp_path: Path) -> None:
    place = tmp_path / "toydata" / FEATURE
    shutil.copytree(outputs / "toydata" / FEATURE, place)
    begins = [*range(0, 100, 10), *range(900, 1000, 10)]
    rows = [throughput.Interval(t, t + 10, 10, 20, 1, 50, 0, 4, 12, 2, 0, 0) for t in begins]
    throughput.write(place / throughput.NAME, rows)
    shown = Reader(made(tmp_path, "collection=toydata", f"feature={FEATURE}", "pictures=0"))
    assert "network 60 %" in shown.text
    assert "waiting for decode 20 %" in shown.text
    assert "3 min 20 s of work by about 2 processes, in 2 goes" in shown.text
    assert shown.tiles["frames/s"] == "5"


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    digits = colour.lstrip("#")
    digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_colours_can_be_told_from_what_is_behind_them() -> None:
    css = (TEMPLATES / "report.css").read_text()
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", block)) for block in css.split("@media (prefers-color")[0:2])
    for scheme in (light, light | dark):
        for front, least in [*zip(("ink", "soft", "accent", "bad", "good"), itertools.repeat(4.5))] + [
            (f"g{n}", 3.0) for n in range(10)
        ]:
            for behind in ("paper", "panel"):
                a, b = sorted([luminance(scheme[front]), luminance(scheme[behind])])
                assert (b + 0.05) / (a + 0.05) >= least, (front, behind)
