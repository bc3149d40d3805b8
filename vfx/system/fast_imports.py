"""Imports Lightning, torchvision and timm without torch's compilers and without most of torchmetrics.

They take a few names from these: classes to compare with, functions to call one day. Stand-ins take the place of their
modules while such a library is imported, which saves 2.9 s of CPU time at the start of `vfx.extract`. After that,
whoever imports such a module gets all of it. A release that asks for more than the stand-ins
have is imported as usual.
"""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

FEW = 1000  # objects frozen: Python 3.12 begins with some hundred


def load(name: str) -> ModuleType:
    """Import a library that uses torch, in half the time.

    Args:
        name: `pytorch_lightning`, `torchvision`, `timm`, or any other module.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if name not in sys.modules:
        try:
            with _uncollected(), _without_compilers(), _without_metrics():
                return importlib.import_module(name)
        except (ImportError, AttributeError):
            pass  # said again by what follows, if it was not for the stand-ins
    return importlib.import_module(name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would look through all that an import makes, and find that it is in use."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_freeze_count() < FEW:  # else others have frozen objects, which must stay so
                gc.freeze()
                gc.unfreeze()  # what was imported is old now, and is not looked through at the next occasion
            gc.enable()


@contextmanager
def _without_compilers() -> Iterator[None]:
    import torch

    def disable(function: Any, recursive: bool = True, **_: Any) -> Any:
        return torch._disable_dynamo(function, recursive)  # torch's own, which asks for the compiler at the first call

    def is_compile_supported(device: Any) -> Any:
        return importlib.import_module("torch._dynamo.utils").is_compile_supported(device)

    stand_ins: dict[str, dict[str, Any]] = {
        "torch._dynamo": {"OptimizedModule": _late("torch._dynamo.eval_frame", "OptimizedModule"), "disable": disable},
        "torch._dynamo.utils": {"is_compile_supported": is_compile_supported},
    }
    if find_spec("triton"):
        stand_ins["triton.runtime.jit"] = {"JITFunction": _late("triton.runtime.jit", "JITFunction")}
    made = {name: _stand_in(name, has) for name, has in stand_ins.items() if name not in sys.modules}
    sys.modules.update(made)
    try:
        yield
    finally:
        for module in made.values():
            _withdraw(module)


@contextmanager
def _without_metrics() -> Iterator[None]:
    """Lightning builds on two classes of torchmetrics; its metrics would import SciPy, Matplotlib, transformers."""
    spec = PathFinder.find_spec("torchmetrics")
    if spec is None or {"torchmetrics", "torchmetrics.metric"} & sys.modules.keys():
        yield
        return
    package: Any = module_from_spec(spec)  # empty, but its parts can be imported

    def plot_single_or_multi_val(*arguments: Any, **options: Any) -> Any:
        return importlib.import_module(plot.__name__).plot_single_or_multi_val(*arguments, **options)

    package._logger = logging.getLogger("torchmetrics")
    types = {"_AX_TYPE": object, "_PLOT_OUT_TYPE": object}  # what they are where there is no Matplotlib
    plot = _stand_in("torchmetrics.utilities.plot", {**types, "plot_single_or_multi_val": plot_single_or_multi_val})
    sys.modules.update({"torchmetrics": package, plot.__name__: plot})
    try:
        importlib.import_module("torchmetrics.utilities")  # first, as the two and it ask for each other
        package.Metric = importlib.import_module("torchmetrics.metric").Metric
        package.MetricCollection = importlib.import_module("torchmetrics.collections").MetricCollection
        yield
    finally:
        _withdraw(plot)
        del sys.modules["torchmetrics"]
        sys.meta_path.insert(0, _PartlyImported(package))


def _stand_in(name: str, attributes: dict[str, Any]) -> ModuleType:
    """A module with these attributes; whoever asks it for another one gets that of the true module."""
    module = ModuleType(name)

    def rest(attribute: str) -> Any:
        if attribute.startswith("__"):  # the import system's own questions
            raise AttributeError(attribute)
        _withdraw(module)
        return getattr(importlib.import_module(name), attribute)

    vars(module).update(attributes, __getattr__=rest)
    return module


def _withdraw(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]


def _late(module: str, name: str) -> type:
    """A class to compare with in place of one whose module is not imported: until it is, nothing is an instance."""

    class Late(type):
        def __instancecheck__(cls, instance: object) -> bool:
            true = getattr(sys.modules.get(module), name, cls)
            return true is not cls and isinstance(instance, true)

    return Late(name, (), {"__module__": module})


class _PartlyImported(MetaPathFinder):
    """Finds a package some of whose modules are imported, so that they are in it when it is imported itself."""

    def __init__(self, package: ModuleType) -> None:
        self._package = package

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != self._package.__name__:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader.create_module = lambda _: self._package  # type: ignore
        return spec
