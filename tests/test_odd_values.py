"""Every key of every app with values that make no sense: an app refuses them in a sentence, or can do with them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import vfx
from tests.commands import compose
from tests.conftest import FEATURE, link_clips
from vfx import extract
from vfx.cli.overrides import quote
from vfx.errors import VfxError

ODD = ("inf", "nan", "-1", "0", "abc", "[1]", "{a:1}", "null", "1e30", "true", "''", "1.5")
GIVEN = {
    "models": (),
    "probe": ("collection=one",),
    "frames": ("collection=one",),
    "extract": ("collection=one", "trainer=cpu", "sampler=uniform", "sampler.num_frames=1"),
    "merge": ("collection=one", f"feature={FEATURE}"),
    "pool": ("collection=one", f"feature={FEATURE}"),
    "concat": ("collection=one", f"features={FEATURE}+{FEATURE}"),
    "export": ("collection=one", f"feature={FEATURE}"),
    "import_bigfile": ("source=bigfile", "collection=two", "feature=other"),
    "compare": (f"a=outputs/one/{FEATURE}", f"b=outputs/one/{FEATURE}"),
    "verify": ("collection=one",),
    "report": ("collection=one", f"feature={FEATURE}"),
    "search": ("collection=one", f"feature={FEATURE}", "video=retina"),
}
FOLDERS = ("rootpath", "output_dir", "destination", "output")  # it would write there


def leaves(config: DictConfig, above: str = "") -> Iterator[str]:
    for key in map(str, config):
        node: Any = config._get_node(key)
        if OmegaConf.is_dict(node):
            yield from leaves(node, f"{above}{key}.")
        elif not key.startswith("_") and key not in FOLDERS:
            yield f"{above}{key}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("app", GIVEN)
def test_no_odd_value_is_a_surprise(app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*GIVEN, "bench"} == {*vfx.APPS}
    monkeypatch.chdir(tmp_path)
    link_clips(tmp_path / "one", "retina.mp4")
    given = (*GIVEN[app], f"rootpath={tmp_path}", "output_dir=outputs")
    if app not in ("models", "probe", "frames", "extract", "import_bigfile"):
        extract.main("collection=one", "trainer=cpu", *given[-2:])
    known = compose(app)
    given = tuple(g for g in given if g.partition("=")[0].split(".")[0] in known)
    config = compose(app, *quote(list(given), app))
    main = import_module("vfx.models.__main__" if app == "models" else f"vfx.{app}").main
    overwrite = ("overwrite=true",) if "overwrite" in config else ()
    surprises = []
    for key in leaves(config):
        for value in ODD:
            try:
                main(*given, *overwrite, f"{key}={value}")
            except VfxError:
                pass
            except Exception as error:  # noqa: BLE001
                surprises.append(f"{key}={value}: {type(error).__name__}: {error}")
    assert surprises == []
