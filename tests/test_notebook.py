"""The notebook: its kept outputs are those of its code, and run anew it finds what is to be seen in the toy clips."""

import importlib.util
import io
import json
import re
from types import ModuleType

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(900)  # a kernel, an extraction and a training, on a machine that may be busy
MOST_BYTES = 1_500_000
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def run() -> ModuleType:
    """`notebooks/run.py` as a module."""
    spec = importlib.util.spec_from_file_location("notebooks_run", ROOT / "notebooks/run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept(run: ModuleType) -> nbformat.NotebookNode:
    return nbformat.read(run.NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def anew(run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    notebook = nbformat.read(run.NOTEBOOK, as_version=4)
    run.execute(notebook, tmp_path_factory.mktemp("checkout"))
    return notebook


def text(notebook: nbformat.NotebookNode, id: str, kind: str = "text/plain") -> str:
    """What a cell prints and returns."""
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return "\n".join(o.text if o.output_type == "stream" else o.data.get(kind, "") for o in outputs)


def test_kept_outputs_are_of_this_code_run_from_top_to_bottom(run: ModuleType, kept: nbformat.NotebookNode) -> None:
    cells = list(run.code_cells(kept))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert kept.metadata.sources == run.sources(kept), "python notebooks/run.py runs it again"
    assert run.NOTEBOOK.stat().st_size < MOST_BYTES


def test_kept_outputs_name_no_folder_of_the_machine(run: ModuleType, kept: nbformat.NotebookNode) -> None:
    for cell in run.code_cells(kept):
        for output in cell.outputs:
            data = {kind: shown for kind, shown in output.get("data", {}).items() if not kind.startswith("image/")}
            shown = json.dumps({**output, "data": data})
            assert not re.search(r"(?<![\w.:/<])/\w+/", shown), shown


def test_the_pictures_of_the_documentation_are_the_notebooks(run: ModuleType, kept: nbformat.NotebookNode) -> None:
    cells = {cell.id: cell for cell in run.code_cells(kept)}
    page = (ROOT / "docs/notebook.md").read_text()
    for name in run.FIGURES:
        assert (ROOT / f"docs/images/notebook-{name}.png").read_bytes() == run.figure(cells[name])
        assert f"images/notebook-{name}.png" in page


@pytest.mark.dear
@pytest.mark.parametrize("id", ["rows", "xarray", "cut", "neighbours", "names"])
def test_run_anew_it_tells_the_same(kept: nbformat.NotebookNode, anew: nbformat.NotebookNode, id: str) -> None:
    """Up to rounding, which differs between processors."""
    was, is_ = text(kept, id), text(anew, id)
    assert NUMBER.sub("#", was).split() == NUMBER.sub("#", is_).split()
    np.testing.assert_allclose(*([float(n) for n in NUMBER.findall(t)] for t in (was, is_)), atol=1.01)


@pytest.mark.dear
def test_the_clips_are_called_what_they_show(anew: nbformat.NotebookNode) -> None:
    named = {line.split()[0]: line for line in text(anew, "names").splitlines()[2:]}
    assert len(named) == 8
    assert re.match(r"cat +(Egyptian cat|tiger cat|tabby) \(\d\d%\)", named["cat"])
    assert re.match(r"camera +tripod \([78]\d%\)", named["camera"])
    assert re.match(r"coffee +espresso", named["coffee"])
    assert re.match(r"coffee_phone +espresso", named["coffee_phone"])
    assert "space shuttle" in named["shuttle"]


@pytest.mark.dear
def test_it_finds_the_cut_and_the_cat_and_learns(anew: nbformat.NotebookNode) -> None:
    assert "launch is cut before 2.00 s" in text(anew, "cut")
    nearest = text(anew, "neighbours").partition("nearest: ")[2].split()
    assert len(nearest) == 5
    assert all(id.startswith("cat_") for id in nearest)
    right, of = re.match(r"(\d+) of (\d+) frames", text(anew, "loader")).groups()
    assert int(of) == 30
    assert int(right) >= 25


@pytest.mark.dear
def test_the_file_shows_itself(anew: nbformat.NotebookNode) -> None:
    assert "59 × 1,280 float32" in text(anew, "file", "text/html")


@pytest.mark.dear
@pytest.mark.parametrize("id", ["similarity", "map", "neighbours", "bars"])
def test_every_figure_is_drawn(run: ModuleType, anew: nbformat.NotebookNode, id: str) -> None:
    (cell,) = (cell for cell in anew.cells if cell.id == id)
    pixels = np.asarray(Image.open(io.BytesIO(run.figure(cell))).convert("RGB"))
    height, width, _ = pixels.shape
    assert 700 < width < 1200
    assert 150 < height < 700
    inked = (pixels < 200).any(2)
    assert inked.mean() > 0.05
    assert len(np.unique(pixels[inked], axis=0)) > 500  # pictures and colour maps, not lines alone
