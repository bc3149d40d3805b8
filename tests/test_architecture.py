"""docs/architecture.md is true: the order of the packages, the private names of other libraries, the global state."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_project import ORDER

PAGE = (ROOT / "docs/architecture.md").read_text()
MODULES = {str(p.relative_to(ROOT / "vfx")): ast.parse(p.read_text()) for p in sorted((ROOT / "vfx").rglob("*.py"))}
PRIVATE = re.compile(r"_[A-Za-z]\w*(?<!_)")
PUBLIC = {"_exit", "_fields", "_replace", "_asdict", "_make"}  # documented in spite of their names
BY_NAME = {"getattr", "hasattr", "setattr", "delattr", "get"}
# Calls that change the whole process, or what another library does in it.
GLOBAL = {
    "mallopt", "set_num_threads", "set_float32_matmul_precision", "set_start_method", "register_at_fork", "setrlimit",
    "pthread_sigmask", "signal", "freeze", "filterwarnings", "simplefilter",
}  # fmt: skip


def section(heading: str) -> str:
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def last_names(cell: str) -> set[str]:
    """Of `torch._dynamo` and the like, each part that is private."""
    return {part for name in code(cell) for part in name.split(".") if PRIVATE.fullmatch(part)}


def defined(tree: ast.AST) -> set[str]:
    """The names that a module defines, as functions, classes, variables or attributes of its own objects."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
    return found


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


OF_ALL = set().union(*map(defined, MODULES.values()))


def private_names(tree: ast.AST) -> Iterator[str]:
    """The private names that a module uses and vfx does not define: imported, as attributes, or as text."""
    own = defined(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr not in (OF_ALL if is_own(node.value) else own):
                yield node.attr
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] != "vfx":
            yield from (node.module or "").split(".")
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"\w+(\.\w*)+", node.value):  # the name of a module, or the beginning of a name
                yield from node.value.split(".")
        elif isinstance(node, (ast.Call, ast.Dict)):
            names = node.args[:2] if isinstance(node, ast.Call) and called(node) in BY_NAME else []
            for name in node.keys if isinstance(node, ast.Dict) else names:
                if isinstance(name, ast.Constant) and name.value not in own:
                    yield str(name.value)


def used() -> set[tuple[str, str]]:
    return {
        (module, name)
        for module, tree in MODULES.items()
        for name in private_names(tree)
        if PRIVATE.fullmatch(name) and name not in PUBLIC
    }


def test_the_packages_are_listed_in_the_order_of_their_imports() -> None:
    listed = [[name.removesuffix(".py") for name in code(row[0])] for row in rows("Packages")]
    assert [set(names) for names in listed[: len(ORDER)]] == ORDER
    assert len(listed) == len(ORDER) + 1, "the verbs come last"


def test_threads_have_the_names_that_the_page_says() -> None:
    sources = [path.read_text() for path in (ROOT / "vfx").rglob("*.py")]
    named = [
        code(row[0])
        for row in rows("Processes and threads")
        if row[0].partition(",")[0].endswith(("thread", "threads"))
    ]
    for name in (name for names in named for name in names):
        assert any(f'"{name}"' in source for source in sources), name


def test_every_private_name_of_another_library_is_in_the_table() -> None:
    table = {(module, name) for row in rows("Private names") for module in code(row[1]) for name in last_names(row[0])}
    missing = {(module, name) for module, name in used() if (module, name) not in table}
    assert not missing, f"not in the table of docs/architecture.md: {sorted(missing)}"


def test_the_table_names_nothing_that_is_not_used() -> None:
    found = used()
    for row in rows("Private names"):
        modules = code(row[1])
        assert set(modules) <= MODULES.keys()
        for name in last_names(row[0]):
            assert any((module, name) in found for module in modules), f"{name} is not used in {modules}"


def test_every_change_of_the_whole_process_is_in_the_table() -> None:
    table = {(module, name) for row in rows("Global state") for module in code(row[1]) for name in code(row[0])}
    calls = {
        (module, called(node))
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) in GLOBAL
    }
    assert not calls - table, f"not in the table of docs/architecture.md: {sorted(calls - table)}"


@pytest.mark.parametrize("heading", ["Private names", "Global state"])
def test_the_tests_that_the_tables_name_exist(heading: str) -> None:
    for row in rows(heading):
        tests = code(row[-1])
        assert tests, row[0]
        for test in tests:
            path, _, name = test.partition("::")
            assert Path(ROOT / path).exists(), test
            assert not name or f"def {name}(" in (ROOT / path).read_text(), test
