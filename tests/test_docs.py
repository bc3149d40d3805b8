"""README and docs are true: the site builds, links lead somewhere, commands compose, Python runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import numpy as np
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import vfx
from tests import commands
from tests.conftest import ROOT, TOYDATA
from vfx import export
from vfx.cli.config import resolve
from vfx.cli.config_errors import ERRORS
from vfx.cli.overrides import prepare
from vfx.decoding import VideoReader, demux
from vfx.errors import VfxError
from vfx.features.feature_file import FeatureFile
from vfx.models.catalogue import FACTS

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "toydata/README.md"])
COMMANDS = re.compile(r"python -m vfx\.\w|\bvfx-[a-z]|^\s*sbatch |^\s*torchrun ")
FREE = re.compile(r"^(collection|rootpath|output_dir|features?|a|b|source|destination|output)=[^\[\"]+$")
ENDS = ("...", "|", "||", "&&", ";", ">")  # behind them the arguments are another command's, or left out


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str | None = None) -> list[str]:
    """The fenced blocks of a page; of one language, or of all but Python."""
    found = re.findall(r"^```([\w-]*)[^\n]*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [code for kind, code in found if (kind == language if language else kind != "python")]


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = {p.stem for p in (tmp_path / "site").glob("*.html")}
    assert pages >= {"index", *(p.stem for p in (ROOT / "docs").glob("*.md"))}
    fetched = re.compile(r"<(?:script|img|source)[^>]*\ssrc=.?https?:|<link[^>]*stylesheet[^>]*https?:|@import")
    for page in (tmp_path / "site").glob("*.html"):
        assert not fetched.search(page.read_text()), page
    # what a page links to outside docs/ is there too
    assert list((tmp_path / "site/repository/bench/results").glob("*.json"))


@lru_cache
def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    slugs: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\]\([^)]*\)", "]", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        slugs.append(f"{slug}-{n}" if (n := slugs.count(slug)) else slug)
    return set(slugs)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)}: {link}"
        assert not anchor or anchor in anchors(target), f"{named(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_of_the_project_that_a_page_names_are_there_and_hold_what_it_says(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    text = page.read_text()
    for path in re.findall(r"`((?:vfx|tests|docs|bench|notebooks|toydata)/[\w./-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path
    for name, path in re.findall(r"`(\w+)` of `(vfx/[\w/]+\.py)`", text):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.MULTILINE), f"{name} of {path}"


def elsewhere() -> set[str]:
    """What pages link to, and where networks of conf/model are published."""
    links = {link for page in PAGES for link in re.findall(r"\]\((https?:[^)\s]+)\)", page.read_text())}
    return links | {facts.origin for facts in FACTS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("link", sorted(elsewhere()))
def test_every_other_link_answers(link: str) -> None:
    asked = link.replace("pypi.org/project/", "pypi.org/simple/")  # which mirrors have too
    try:
        with urlopen(Request(asked, method="HEAD", headers={"User-Agent": "Mozilla/5.0"}), timeout=60) as answer:
            assert answer.status == 200
    except HTTPError as error:
        pytest.fail(f"{link}: {error}")
    except URLError as error:
        pytest.skip(f"cannot be asked here: {error.reason}")


def in_code(page: Path) -> Iterator[tuple[str, str, bool]]:
    """(command, the line printed after it, whether it is given whole) of all that a page says to type."""
    for block in blocks(page):
        lines = [*block.replace("\\\n", " ").splitlines(), ""]
        yield from ((line, after, True) for line, after in pairwise(lines) if COMMANDS.search(line))
    inline = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from ((code, "", False) for code in re.findall(r"`([^`\n]+)`", inline) if COMMANDS.search(code))


def parsed(line: str) -> tuple[str, list[str]] | None:
    """The app and the overrides of a command line; None where it is not an app with overrides."""
    line = re.sub(r"\$\{?([a-z_]\w*)\}?", r"\1", line)  # variables of the reader's, as $collection
    if '"$' in line:  # those of a script
        return None
    words = shlex.split(line, comments=True)
    for at, word in enumerate(words):
        if word == "-m" and words[at + 1 : at + 2] and words[at + 1].startswith("vfx."):
            app, rest = words[at + 1].removeprefix("vfx."), words[at + 2 :]
        elif re.fullmatch(r"vfx-[a-z-]+", word) and at == len([w for w in words[:at] if w == "$" or "=" in w]):
            app, rest = word.removeprefix("vfx-").replace("-", "_"), words[at + 1 :]
        elif word == "vfx.sh":
            app, rest = "extract", ["trainer=slurm", *words[at + 1 :]]
        else:
            continue
        end = next((n for n, argument in enumerate(rest) if argument in ENDS), len(rest))
        special = {"--help", "--cfg", "-sc"} & set(rest)
        return None if special else (app, rest[:end])
    return None


def job(app: str, arguments: list[str]) -> list[str]:
    """The overrides of the command, or of the last job of a sweep."""
    given = prepare(arguments, app)
    if "-m" not in given:
        return given
    overrides = OverridesParser.create().parse_overrides([a for a in given if a != "-m"])
    (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return list(batch[-1])


def compose(app: str, arguments: list[str], *, whole: bool) -> None:
    assert app in vfx.APPS
    config = commands.compose(app, *job(app, arguments))
    if whole:
        resolve(config, app)


@pytest.mark.timeout(900)  # twelve processor seconds, on a machine that others use too
def test_every_command_is_one_that_its_app_takes() -> None:
    """Each composes as it would when it is typed; one that is shown with an error is refused."""
    seen: set[tuple[str, frozenset[str]]] = set()
    pages = set()
    for page in PAGES:
        for line, after, whole in in_code(page):
            command = parsed(line)
            if command is None or not (command[1] or whole):  # a mention
                continue
            app, arguments = command
            pages.add(page.name)
            refused = after.startswith("error: ") and "failed" not in after
            known = (app, frozenset([*(FREE.sub(r"\1", a) for a in arguments), *(["refused"] if refused else [])]))
            if known in seen:
                continue
            seen.add(known)
            if refused:
                with pytest.raises((*ERRORS, VfxError)):
                    compose(app, arguments, whole=True)
                continue
            try:
                compose(app, arguments, whole=whole and "..." not in line)
            except (*ERRORS, VfxError) as error:
                pytest.fail(f"{named(page)}: {line.strip()}: {error}")
    assert len(seen) > 50
    assert pages >= {"README.md", "recipes.md", "lineage.md", "sweeps.md", "cluster.md", "formats.md"}


@pytest.fixture
def checkout(toy_features: FeatureFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which the toy collection has been extracted, and exported."""
    shutil.copytree(toy_features.path.parent, tmp_path / "outputs/toydata/efficientnet_lite0,avgpool")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    code = blocks(ROOT / page, "python")
    assert code
    for block in code:
        exec(compile(block, page, "exec"), names)
    return names


def test_python_of_the_readme_runs(checkout: Path) -> None:
    f = run("README.md")["f"]
    assert f["cat"].shape == (11, 1280)
    assert f["cat_25"].shape == (1280,)


def test_python_about_the_feature_file_runs(checkout: Path) -> None:
    shutil.copy("outputs/toydata/efficientnet_lite0,avgpool/features.h5", "features.h5")
    names = run("docs/schema.md")  # which asserts that the digests are those written
    assert len(names["written"]) > 5


def test_python_about_formats_runs(checkout: Path) -> None:
    for form in ("npy", "npz", "parquet"):
        path = {"parquet": "features.parquet"}.get(form, form)
        feature = ("collection=toydata", "feature=efficientnet_lite0,avgpool", f"rootpath={ROOT}")
        export.main(*feature, f"format={form}", f"destination={checkout / path}")
    names = run("docs/formats.md")
    assert names["values"].shape == (59, 1280)
    assert len(names["ids"]) == names["table"].num_rows == 59


def test_python_about_sweeps_runs(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for collection in "ab":
        shutil.copytree("outputs/toydata/efficientnet_lite0,avgpool", f"outputs/{collection}/resnet50,avgpool")
    run("docs/sweeps.md")
    assert "1280" in capsys.readouterr().out


def test_python_about_adding_parts_runs(checkout: Path, toy_features: FeatureFile) -> None:
    names = run("docs/extending.md")  # it has asserts of its own
    cat, chosen = TOYDATA / "VideoData/cat.mp4", np.array([3, 25])
    ours = list(VideoReader(cat, lambda _: chosen))
    theirs = list(names["frames"](cat, demux(cat), chosen))
    assert [(f.index, f.seconds) for f in theirs] == [(f.index, f.seconds) for f in ours]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(ours, theirs, strict=True))
    names["write"](toy_features, checkout / "features.csv")
    written = np.genfromtxt(checkout / "features.csv", dtype=None, delimiter=",", encoding="utf-8")
    assert [row[0] for row in written.tolist()] == toy_features.ids.tolist()
    assert np.array_equal(np.float32([row[1:] for row in written.tolist()]), toy_features.features[:])


def test_the_keys_in_the_readme_are_there() -> None:
    table = (ROOT / "README.md").read_text().partition("| key |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \| .* \|$", table, re.MULTILINE)
    keys = {key for row in rows for key in re.findall(r"`([\w.<>]+)`", row)}
    assert keys >= {"model", "oversample", "sampler", "trainer", "shard"}
    config = OmegaConf.to_container(commands.compose("extract", "collection=c"))
    for key in keys:
        node: Any = config
        for part in key.removesuffix(".<key>").split("."):
            assert part in node, key
            node = node[part]


def test_a_recording_shows_each_line_in_its_last_state(tmp_path: Path) -> None:
    target = tmp_path / "terminal.svg"
    commands = [r"printf '1 of 2\r'; sleep 0.2; printf '2 of 2\n'", "echo '<done>'"]
    subprocess.run([sys.executable, ROOT / "docs/record.py", target, *commands], check=True, capture_output=True)
    texts = [e for e in ElementTree.parse(target).iter() if e.tag.endswith("}text")]
    last = [e.text for e in texts if e.get("class") != "over"]
    assert last == [f"$ {commands[0]}", "2 of 2", f"$ {commands[1]}", "<done>"]
    assert [e.text for e in texts if e.get("class") == "over"] == ["1 of 2"]
