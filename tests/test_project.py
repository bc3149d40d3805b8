"""The project's own rules: who may import whom, what a wheel holds, that every config composes."""

import ast
import re
import shlex
import statistics
from collections import Counter
from configparser import ConfigParser
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import vfx
from tests.commands import compose
from tests.conftest import ROOT
from vfx import CONF_DIR
from vfx.cli import keys
from vfx.cli.config import resolve
from vfx.cli.overrides import prepare

# The packages of vfx/, and its modules that all may use, in the order of the way of the data: each may import those of
# the groups before its own, none of its own group, and none behind. Verbs come last, and never import each other.
ORDER = [
    {"errors"},
    {"validation", "text"},
    {"system"},
    {"collection"},
    {"sampling"},
    {"features"},
    {"decoding"},
    {"sweeps"},
    {"formats"},
    {"cutting", "probing"},
    {"pooling", "analysis"},
    {"cli"},
    {"models"},
    {"inference"},
    {"outputs"},
    {"extraction"},
    {"comparison", "reporting", "retrieval", "benchmark"},
]
PLACE = {name: place for place, group in enumerate(ORDER) for name in group}
VERBS = set(vfx.APPS)
MODULES = {p.relative_to(ROOT / "vfx"): p for p in (ROOT / "vfx").rglob("*.py")}


def imports(path: Path) -> set[str]:
    """The full names of the modules that a file imports, at its top, inside functions, or as those of an extra."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need":
            found.add(ast.literal_eval(node.args[0]))
    return found


def package(module: str) -> str:
    """The package or verb that `vfx.<module>` belongs to; "" for what is not of vfx, or is vfx itself."""
    top, *rest = module.split(".")
    return rest[0] if top == "vfx" and rest else ""


def place(name: str, relative: Path) -> int:
    """Where a package stands in the order; the verb `vfx.models` is its `__main__`."""
    if relative.name == "__main__.py" or name not in PLACE:
        return len(ORDER)
    return PLACE[name]


def test_every_package_has_its_place() -> None:
    names = {relative.parts[0].removesuffix(".py") for relative in MODULES}
    assert names - {"__init__"} == PLACE.keys() | VERBS


def test_packages_import_those_before_them() -> None:
    wrong = []
    for relative, path in MODULES.items():
        own = relative.parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for module in imports(path):
            other = package(module)
            known = other in PLACE or other in VERBS
            if known and other != own and PLACE.get(other, len(ORDER)) >= place(own, relative):
                wrong.append(f"{relative} imports {module}")
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {".".join(("vfx", *r.with_suffix("").parts)).removesuffix(".__init__"): r for r in MODULES}
    needs = {name: {m for m in imports(MODULES[r]) if m in names and m != name} for name, r in names.items()}
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in needs[name]:
                # what a package re-exports, its modules do not take from it
                if not (names[other].name == "__init__.py" and name.startswith(f"{other}.")):
                    walk(other, [*way, name])
            done.add(name)

    for name in names.keys() - {"vfx"}:
        walk(name, [])


def test_the_house_is_of_small_rooms() -> None:
    """Folders of at most 20 modules; no module above 450 lines, half of them below 120."""
    folders = Counter(path.parent for path in MODULES.values())
    assert max(folders.values()) <= 20, folders.most_common(1)
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES.values()}
    assert max(lengths.values()) <= 450, max(lengths, key=lambda path: lengths[path])
    assert statistics.median(lengths.values()) < 120


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("h5py", {"features/schema.py"}),
        ("av", {"decoding/pyav", "benchmark/synthetic_videos.py"}),  # one reads videos, one makes them
        ("decord", {"decoding/decord.py"}),
        ("torchcodec", {"decoding/torchcodec.py"}),
        ("hydra", {"cli"}),
        ("omegaconf", {"cli", *(f"{verb}.py" for verb in VERBS), "models/__main__.py"}),
        ("pyarrow", {"formats/parquet.py"}),
        ("faiss", {"retrieval/faiss_index.py"}),
    ],
)
def test_each_library_is_known_to_one_place(library: str, allowed: set[str]) -> None:
    users = {r for r, p in MODULES.items() if any(m.split(".")[0] == library for m in imports(p))}
    assert users
    elsewhere = {r for r in users if not {str(r), *map(str, r.parents)} & allowed}
    assert not elsewhere


def test_every_module_opens_with_what_it_is_for() -> None:
    for path in MODULES.values():
        assert ast.get_docstring(ast.parse(path.read_text())), path


OPTIONS = sorted(p.relative_to(CONF_DIR) for p in CONF_DIR.glob("*/*.yaml") if p.parent.name != "hydra")
NEEDS = {
    "timm": ["model.name=resnet18"],
    "torchvision": ["model.name=resnet18"],
    "segments": ["sampler.file=shots.tsv"],
}


@pytest.mark.parametrize("path", OPTIONS, ids=str)
def test_every_option_composes(path: Path) -> None:
    group, option = path.parts[0], path.stem
    app, wanted = ("pool", ["feature=f"]) if group == "pooling" else ("extract", NEEDS.get(option, []))
    assert resolve(compose(app, "collection=c", f"{group}={option}", *wanted), app).feature


def test_every_app_has_a_config_and_can_be_had_from_the_package() -> None:
    assert {p.stem for p in CONF_DIR.glob("*.yaml")} == set(vfx.APPS)
    modules = {r.stem for r in MODULES if r.parent == Path()} | {"models"}
    assert set(vfx.APPS) <= modules


def groups(name: str) -> set[str]:
    """What a primary config chooses from, or one that it begins with."""
    found: set[str] = set()
    for entry in OmegaConf.load(CONF_DIR / f"{name}.yaml").defaults:
        if entry != "_self_":
            found |= groups(entry) if isinstance(entry, str) else {str(group) for group in entry}
    return found


@pytest.mark.parametrize("name", vfx.APPS)
def test_help_lists_the_groups_that_an_app_chooses_from_and_no_others(name: str) -> None:
    chosen = groups(name) - {"hydra"}
    chosen -= {group for group in chosen if group.startswith("override ")}
    if name == "frames":
        chosen -= {"model"}  # it is there for experiments that name one
    text = shown_help(name)
    listed = dict(re.findall(r"^(\w+): (.*)$", text.partition("== Keys ==")[0].partition("== Groups")[2], re.MULTILINE))
    assert listed.keys() == chosen
    assert ("== Groups" in text) == bool(chosen)
    for group, options in listed.items():
        assert options.split(", ") == sorted(p.stem for p in (CONF_DIR / group).glob("*.yaml"))


def test_every_option_opens_with_a_comment() -> None:
    for path in CONF_DIR.rglob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), path


def test_setup_lists_every_folder_of_code_and_configs() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    code = {".".join(("vfx", *relative.parent.parts)) for relative in MODULES}
    configs = {".".join(("vfx.conf", *path.parent.relative_to(CONF_DIR).parts)) for path in CONF_DIR.rglob("*.yaml")}
    assert set(setup["options"]["packages"].split()) == code | configs
    assert set(setup["options.package_data"]) == {"vfx", "vfx.reporting"} | configs


def shown_help(name: str) -> str:
    """What `--help` prints, but for the last step, which makes `$` of `$$`."""
    return str(compose(name, return_hydra_config=True).hydra.help.template)


def documented(text: str) -> dict[str, str]:
    """What the section of keys says of each, by key."""
    said: dict[str, str] = {}
    names: list[str] = []
    for line in text.partition("== Keys ==\n")[2].split("\n\n")[0].splitlines():
        if not line.startswith(" "):
            names = re.split(r"  |\n", line)[0].split(", ")
        for key in names:
            said[key] = f"{said.get(key, '')} {line}"
    return said


def default_shown(value: object) -> str:
    if isinstance(value, str) and "${" in value:
        return "default"
    if value is None or isinstance(value, list):
        return "(default|null)"
    return re.escape(str(value).lower() if isinstance(value, bool) else str(value))


@pytest.mark.parametrize("name", vfx.APPS)
def test_help_says_every_key_with_its_default(name: str) -> None:
    text = shown_help(name)
    assert "== Keys ==" in text
    config = OmegaConf.to_container(compose(name), resolve=False)
    said = documented(text)
    own = set(OmegaConf.load(CONF_DIR / f"{name}.yaml")) - {"defaults", "hydra"}
    for key, value in config.items():
        if isinstance(value, dict) and (CONF_DIR / key).is_dir():
            listed = [line for line in text.splitlines() if line.startswith(f"{key}.")]
            for leaf in (leaf for leaf in value if not leaf.startswith("_")):
                assert [line for line in listed if line.startswith(f"{key}.{leaf}=")], f"{key}.{leaf}"
        elif key in own:
            assert key in said, f"{key} is not said"
            if value != "???":
                assert re.search(default_shown(value), said[key]), f"{key}: no default {value} in {said[key]}"


def test_every_key_of_an_option_has_a_comment_for_help() -> None:
    for path in OPTIONS:
        if path.parts[0] != "experiment":
            for name, key in keys.of_option(*path.with_suffix("").parts).items():
                leaf = name.rpartition(".")[2]
                assert key.comment or leaf.startswith("enable_") or leaf == "use_distributed_sampler", f"{path}: {name}"


@pytest.mark.parametrize("name", vfx.APPS)
def test_the_examples_of_help_compose(name: str) -> None:
    examples = re.findall(rf"^ +python -m vfx\.{name}(.*)$", shown_help(name).partition("==")[0], re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        overrides = prepare(shlex.split(example.replace("$$", "$"), comments=True), name)
        resolve(compose(name, *overrides), name)


def test_apps_are_there_without_an_import_of_each() -> None:
    assert vfx.extract.main.__module__ == "vfx.extract"
    assert {name for name in vfx.APPS if not callable(getattr(vfx, name).main)} == set()
