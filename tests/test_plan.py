"""What the documentation says of large collections is what the plan prints."""

import subprocess
import sys

from tests.conftest import ROOT


def test_the_page_has_the_table_that_the_command_on_it_prints() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    measured, on_gpus = "bench/results/2026-11-27-epyc-avx512-2-cores.json", "bench/results/2026-11-26-h100-*.json"
    assert f"`python bench/plan.py {measured} {on_gpus}` prints this" in page
    command = ["bench/plan.py", measured, *sorted(map(str, ROOT.glob(on_gpus)))]
    printed = subprocess.check_output([sys.executable, *command], cwd=ROOT, text=True)
    assert printed[printed.index("| collection") :] in page
