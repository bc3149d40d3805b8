"""Imports libraries without what they import for uses that vfx has not: torch's compilers, all of torchmetrics, and in
vfx's own processes torch's kernels for tensors without data, and timm's datasets, torchvision and hub."""

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

META_KERNELS = "torch._meta_registrations"
COMPILERS = ("torch._dynamo", "torch._inductor")
FEW = 1000  # objects frozen: Python 3.12 begins with some hundred, who freezes what is imported has many more

_own = False


def own_process() -> None:
    """Say that nobody but vfx uses torch in this process: its import then leaves out the kernels of the device "meta",
    a quarter of the time, until a compiler is imported. Without one, torch refuses what would need them. And timm takes
    it that neither torchvision nor a hub is installed, and refuses what would need these, until the process ends.
    """
    global _own
    _own = True


def load_torch() -> None:
    """Import torch, in a process of vfx's own without those kernels."""
    if "torch" not in sys.modules:
        with _uncollected(), _without_meta_kernels():
            importlib.import_module("torch")


def load(name: str) -> ModuleType:
    """Import Lightning, torchvision or timm in half the time.

    They take a few names from modules that take seconds: classes to compare with, functions to call one day. These
    have stand-ins for as long as the import lasts. After it such a module is as if nobody had asked for it, and who
    does gets it whole. Where a release asks for more than there are stand-ins for, it is imported as ever.
    """
    if name not in sys.modules:
        try:
            with _uncollected():
                load_torch()
                with _without_compilers(), _without_metrics(), _without_datasets(name == "timm" and _own):
                    return importlib.import_module(name)
        except (ImportError, AttributeError):
            pass  # said again by what follows, if it was not for the stand-ins
    return importlib.import_module(name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """The collector would look through all that an import makes again and again, and find that it is in use."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() < FEW:  # else they are someone else's
            gc.freeze()
            gc.unfreeze()  # to the oldest objects, without a look at them
        gc.enable()


@contextmanager
def _without_meta_kernels() -> Iterator[None]:
    if not _own:
        yield
        return
    module = _stand_in(META_KERNELS, {})
    sys.modules[META_KERNELS] = module
    try:
        yield
        sys.meta_path.insert(0, _KernelsFirst())
    finally:
        _withdraw(module)
    _let_generators_be_made()


def _let_generators_be_made() -> None:
    """Do what torch does at the end of `torch._prims.rng_prims`, which those kernels would have imported: until then it
    makes no `torch.Generator`, which other libraries need, and users' DataLoaders that share our server of processes.
    """
    import torch

    try:
        torch.Generator()
    except RuntimeError:
        try:
            metaclass = importlib.import_module("torch._custom_class_base").CustomClassBaseMeta
            torch._C._set_generator_metaclass(metaclass)
        except (ImportError, AttributeError):  # another release
            importlib.import_module("torch._prims.rng_prims")


class _KernelsFirst(MetaPathFinder):
    """Imports what was left out of torch before the first of its compilers."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name in COMPILERS:
            sys.meta_path.remove(self)
            importlib.import_module(META_KERNELS)


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


def _stand_in(name: str, attributes: dict[str, Any]) -> ModuleType:
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


@contextmanager
def _without_metrics() -> Iterator[None]:
    """Lightning builds on two classes of torchmetrics; its metrics would import SciPy, Matplotlib, transformers."""
    package: Any = _unbegun("torchmetrics")
    if package is None or "torchmetrics.metric" in sys.modules:
        yield
        return

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
        _leave_begun(package)


@contextmanager
def _without_datasets(wanted: bool) -> Iterator[None]:
    """timm's models take a few numbers from its datasets and augmentations, which import torchvision; and a process of
    vfx's own needs neither the parts that timm cuts networks into with torchvision, nor its way to weights on a hub.
    """
    package: Any = _unbegun("timm.data", within="timm") if wanted else None
    if package is None:
        yield
        return
    frozen = _late("torchvision.ops.misc", "FrozenBatchNorm2d")
    made = [_stand_in("torchvision", {}), _stand_in("torchvision.ops.misc", {"FrozenBatchNorm2d": frozen})]
    made = [module for module in made if "torchvision" not in sys.modules]
    hub: Any = None  # as if it were not installed
    without = {"huggingface_hub": hub} if "huggingface_hub" not in sys.modules else {}
    sys.modules.update({package.__name__: package, **{module.__name__: module for module in made}, **without})
    try:
        config = importlib.import_module("timm.data.config")  # the numbers are in it
        vars(package).update({name: value for name, value in vars(config).items() if not name.startswith("_")})
        yield
        vars(sys.modules["timm"])["data"] = package
    finally:
        for module in made:
            _withdraw(module)
        for name in without:
            del sys.modules[name]
        _leave_begun(package)


def _unbegun(name: str, *, within: str | None = None) -> ModuleType | None:
    """A package that is yet to be imported, as an empty module whose parts can be; None where it has been, or there is
    none."""
    parent = PathFinder.find_spec(within) if within else None
    if name in sys.modules or (within and parent is None):
        return None
    spec = PathFinder.find_spec(name, parent.submodule_search_locations if parent else None)
    return None if spec is None else module_from_spec(spec)


def _leave_begun(package: ModuleType) -> None:
    del sys.modules[package.__name__]
    sys.meta_path.insert(0, _Begun(package))


class _Begun(MetaPathFinder):
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
