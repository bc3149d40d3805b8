"""What the documentation says of large collections is what the plan prints."""

import subprocess
import sys

from tests.conftest import ROOT


def test_the_page_has_the_table_that_the_command_on_it_prints() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    command = ["bench/plan.py", "bench/results/2026-11-24-epyc-2-cores.json"]
    assert f"`python {' '.join(command)}` prints this" in page
    printed = subprocess.check_output([sys.executable, *command], cwd=ROOT, text=True)
    assert printed[printed.index("| collection") :] in page
