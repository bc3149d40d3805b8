"""The output folder that tests write parts to."""

from pathlib import Path

import pytest

from tests.outputs.parts import RECIPE
from vfx.outputs.output_folder import OutputFolder


@pytest.fixture
def output(tmp_path: Path) -> OutputFolder:
    output = OutputFolder(tmp_path / "f")
    output.prepare(RECIPE, overwrite=False)
    return output
