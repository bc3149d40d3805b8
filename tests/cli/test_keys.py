"""Keys: what the YAML files say of each, and that one that is new need be said there alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import vfx
from tests.commands import compose
from vfx import CONF_DIR
from vfx.cli import config, keys
from vfx.cli.overrides import quote
from vfx.errors import UsageError

GROUPS = sorted({p.parent.name for p in CONF_DIR.glob("*/*.yaml")} - {"hydra", "experiment"})


def leaves(node: DictConfig, above: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a config and their values, those of an interpolation or that are missing as they are written."""
    for name in map(str, node):
        value: Any = node._get_node(name)
        if OmegaConf.is_dict(value):
            yield from leaves(value, f"{above}{name}.")
        elif not name.startswith("_"):
            yield f"{above}{name}", value._value()


def check_keys(app: str, *overrides: str) -> set[str]:
    """Check the kind of each key of a config against its default; the names of the keys."""
    found = dict(leaves(compose(app, *overrides)))
    for name, value in found.items():
        key = keys.find(app, name)
        assert key is not None, f"{name} is in no YAML file"
        unknown = value is None or (isinstance(value, str) and (value == "???" or "${" in value))
        assert key.is_stated or not unknown, f"{name}: {key.default} does not tell the kind, one of {keys.KINDS}"
        if key.kind == "flag":
            assert isinstance(value, bool), name
        elif key.kind in (*keys.NAMES, "text"):
            assert value is None or isinstance(value, str), name
        elif key.kind == "number":
            assert unknown or (isinstance(value, int | float) and not isinstance(value, bool)), name
    return {*found}


@pytest.mark.parametrize("app", vfx.APPS)
def test_every_key_of_an_app_has_a_kind_that_its_default_fits(app: str) -> None:
    names = check_keys(app)
    assert names >= set(keys.of_app(app)), "keys that were read in the YAML file, but are not in the config"


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_of_an_option_has_a_kind_that_its_default_fits(group: str) -> None:
    for option in keys.options(group):
        names = check_keys("pool" if group == "pooling" else "extract", f"{group}={option}")
        assert names >= set(keys.of_option(group, option))


@pytest.mark.parametrize("group", GROUPS)
def test_a_key_is_of_one_kind_in_all_options_of_a_group(group: str) -> None:
    stated: dict[str, set[str]] = {}
    for option in keys.options(group):
        for name, key in keys.of_option(group, option).items():
            if key.is_stated:
                stated.setdefault(name, set()).add(key.kind)
            assert name in keys.of_group(group)
    assert {name for name, kinds in stated.items() if len(kinds) > 1} == set()


def test_a_key_of_several_apps_is_of_one_kind() -> None:
    kinds: dict[str, set[str]] = {}
    for app in vfx.APPS:
        for name, key in keys.of_app(app).items():
            kinds.setdefault(name, set()).add(key.kind)
    assert {name for name, kinds in kinds.items() if len(kinds) > 1} == set()


@pytest.fixture
def new_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An app whose keys stand in its YAML file and in that of a group, and nowhere else."""
    (tmp_path / "shape").mkdir()
    (tmp_path / "new.yaml").write_text(
        "# An app\ndefaults:\n  - _self_\n  - shape: round\n\n"
        "where: null  # path\nwho: ???  # name\nmade: ???  # feature: what was made\nhow: fast\nsure: false\n"
        "many: null  # number\ndeep:\n  er: here  # folder\nhydra:\n  help:\n    other: 1\n"
    )
    (tmp_path / "shape/round.yaml").write_text("# Round\ntable: ???  # path: a table\nsize: 3  # of it\n")
    monkeypatch.setattr(keys, "CONF_DIR", tmp_path)
    monkeypatch.setattr(keys, "APPS", ("new",))
    yield "new"
    for read in (keys.of_app, keys.of_group, keys.of_option):
        read.cache_clear()


def test_a_new_key_is_said_once(new_keys: str) -> None:
    given = [
        "where=/a,b (1)",
        "who=x,y",
        "who=x(y)",
        "made=a,b",
        "shape.table=t,u",
        "how=a,b",
        "shape.size=1,2",
        "no=a,b",
    ]
    assert quote(given, new_keys) == [
        "where='/a,b (1)'", "who=x,y", "who='x(y)'", "made='a,b'", "shape.table='t,u'", "how=a,b", "shape.size=1,2",
        "no=a,b",
    ]  # fmt: skip
    fine = {
        "where": None, "who": 2024, "made": 7, "how": 3, "sure": True, "many": None, "deep": {"er": 5},
        "shape": {"table": 1.5, "size": 4},
    }  # fmt: skip
    assert config.resolve(OmegaConf.create(fine), new_keys) == {
        "where": None, "who": "2024", "made": "7", "how": "3", "sure": True, "many": None, "deep": {"er": "5"},
        "shape": {"table": "1.5", "size": 4},
    }  # fmt: skip
    for name, value, said in [
        ("who", None, "who must not be null: give who=..."),
        ("where", "a\0b", "where ('a\\x00b') must be a path, not empty"),
        ("made", "a/b", "made (a/b) must be names of folders"),
        ("how", None, "how (None) must be text"),
        ("sure", 1, "sure (1) must be true or false"),
        ("shape", {"table": None}, "shape.table must not be null"),
        ("deep", {"er": ""}, "deep.er ('') must be a path"),
    ]:
        with pytest.raises(UsageError) as raised:
            config.resolve(OmegaConf.create(fine | {name: value}), new_keys)
        assert str(raised.value).startswith(said)


def test_a_comment_says_the_kind_and_then_what_help_shows(new_keys: str) -> None:
    assert keys.of_group("shape") == {
        "shape.table": keys.Key("path", True, "???", "a table"), "shape.size": keys.Key("any", False, "3", "of it"),
    }  # fmt: skip
    assert keys.of_app(new_keys)["made"] == keys.Key("feature", True, "???", "what was made")
    assert keys.of_app(new_keys).keys() == {"where", "who", "made", "how", "sure", "many", "deep.er"}


def test_models_of_a_list_have_the_keys_of_a_model() -> None:
    given = OmegaConf.create({"models": {"resnet50": {"name": 50, "layer": "x", "weights": "random"}}})
    assert config.resolve(given, "extract").models.resnet50.name == "50"
    with pytest.raises(UsageError, match=r"models\.resnet50\.layer \(None\) must be text"):
        config.resolve(OmegaConf.create({"models": {"resnet50": {"layer": None}}}), "extract")
