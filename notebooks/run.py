"""Runs explore.ipynb from a clean state, in place, and puts its figures into docs/images.

    python notebooks/run.py

It runs in a new folder that holds only the toy collection, so that its outputs are what a new user sees. If a cell
fails, the notebook stays as it was. The id of a cell is the name of its figure.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks/explore.ipynb"
FIGURES = ("similarity", "map", "neighbours")  # the cells whose figures the docs show


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells with a new kernel, as if `folder` were a checkout. Raises CellExecutionError."""
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    (folder / "notebooks").mkdir()
    (folder / "toydata").symlink_to(ROOT / "toydata")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    client = NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder / "notebooks")}},
    )
    client.execute(env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "sources": sources(notebook),
    }


def code_cells(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def sources(notebook: nbformat.NotebookNode) -> str:
    """The SHA-256 of the code. It is kept with the outputs, which so tell whether they are of this code."""
    return hashlib.sha256("\0".join(cell.source for cell in code_cells(notebook)).encode()).hexdigest()


def figure(cell: nbformat.NotebookNode) -> bytes:
    """The PNG that a cell has shown."""
    (png,) = (output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    return base64.b64decode(png)


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    nbformat.write(notebook, NOTEBOOK)
    images = ROOT / "docs/images"
    images.mkdir(exist_ok=True)
    for cell in code_cells(notebook):
        if cell.id in FIGURES:
            (images / f"notebook-{cell.id}.png").write_bytes(figure(cell))


if __name__ == "__main__":
    main()
