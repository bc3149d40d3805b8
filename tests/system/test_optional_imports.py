"""What a missing library of an extra says."""

import ast
import importlib.metadata
import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vfx.errors import UsageError
from vfx.system.optional_imports import need


def test_a_library_that_is_there_is_imported() -> None:
    assert need("json", extra="parquet", for_="this") is json


def test_a_missing_one_names_the_command_that_installs_it() -> None:
    with pytest.raises(UsageError, match=r"^format=x needs no_such_library: pip install 'vfx\[parquet\]'$"):
        need("no_such_library.part", extra="parquet", for_="format=x")


def test_so_does_one_whose_own_need_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_there.py").write_text("import no_such_library.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"needs no_such_library: pip install 'vfx\[pandas\]'"):
        need("half_there", extra="pandas", for_="this")
    assert "half_there" not in sys.modules


def declared() -> dict[str, set[str]]:
    """The extras of setup.cfg, and the names of the packages of each."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = {extra: text.strip().splitlines() for extra, text in setup["options.extras_require"].items()}
    return {
        extra: {re.split(r"[<>=;\[ ]", line)[0] for line in each if line[0] != "#"} for extra, each in lines.items()
    }


def asked_for() -> list[tuple[str, str]]:
    """(module, extra) of every `need(...)` in vfx."""
    found = []
    for path in (ROOT / "vfx").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need":
                (extra,) = (ast.literal_eval(word.value) for word in node.keywords if word.arg == "extra")
                found.append((ast.literal_eval(node.args[0]), extra))
    return found


def test_every_extra_is_documented_and_every_documented_one_is_there() -> None:
    documented: set[str] = set()
    for row in (ROOT / "docs/commands.md").read_text().partition("\n## Extras\n")[2].splitlines():
        if row.startswith("| `"):
            documented |= set(re.findall(r"`(\w+)`", row.split("|")[1]))
    assert documented == set(declared()), "give each extra of setup.cfg its row in docs/commands.md"


def test_every_extra_that_is_named_anywhere_is_there() -> None:
    texts = [*(ROOT / "vfx").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), *(ROOT / "docs").glob("*.md")]
    for path in [*texts, *ROOT.glob("*.md"), *ROOT.glob("notebooks/*")]:
        if path.is_file() and path.suffix != ".png":
            named = {e for found in re.findall(r"vfx\[([a-z,]+)\]", path.read_text()) for e in found.split(",")}
            assert named <= set(declared()), path


@pytest.mark.dear
def test_an_extra_installs_what_asks_for_it() -> None:
    distributions = importlib.metadata.packages_distributions()
    asked = asked_for()
    assert ("pyarrow.parquet", "parquet") in asked
    for module, extra in asked:
        top = module.partition(".")[0]
        names = {n.lower().replace("_", "-") for n in distributions.get(top, [top])}
        if top == "hydra_plugins":
            names = {module.partition(".")[2].replace("_", "-")}
        assert names & declared()[extra], f"{module} is not in the extra {extra}"


def test_nothing_but_need_says_how_to_install_an_extra() -> None:
    assert [p.name for p in (ROOT / "vfx").rglob("*.py") if "pip install 'vfx[" in p.read_text()] == [
        "optional_imports.py"
    ]


def test_all_holds_all_that_users_would_ask_for() -> None:
    (line,) = [x for x in (ROOT / "setup.cfg").read_text().splitlines() if x.startswith("    vfx[")]
    assert set(line.strip()[4:-1].split(",")) == set(declared()) - {"all", "test", "docs", "toydata"}
    assert {"pytest", "ruff", "mypy"} <= declared()["test"]
