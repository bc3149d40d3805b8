"""Compiles networks for the device that they run on: by torch's own compiler, or for a processor by OpenVINO."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from vfx.errors import UsageError
from vfx.system.files import make_folder
from vfx.system.optional_imports import need

Compiler = Literal[False, True, "openvino"]
COMPILERS = (False, True, "openvino")
KEPT_IN = "TORCHINDUCTOR_CACHE_DIR"
Run = Callable[[torch.Tensor], torch.Tensor]

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where compiled networks are kept: `$XDG_CACHE_HOME/vfx`, else `~/.cache/vfx`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vfx"


def check_compiler(compiler: object, device: str) -> None:
    """Raise UsageError where there is no such compiler, it is not installed, or it is none for the device."""
    if compiler not in COMPILERS:
        raise UsageError(f"model.compile ({compiler}) must be false, true or openvino")
    if compiler == "openvino":
        if device != "cpu":
            raise UsageError(f"model.compile (openvino) is for processors, not for {device}; take model.compile=true")
        need("openvino", extra="openvino", for_="model.compile=openvino")


def by_torch(body: nn.Module) -> Run:
    """`body` compiled when it first runs, for the size of its first batch: others are filled up to it."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(KEPT_IN) in (None, default_cache_dir()):  # which is in /tmp, that many systems empty
        os.environ[KEPT_IN] = str(cache_folder() / "inductor")
    return torch.compile(body, dynamic=False)


def by_openvino(body: nn.Module, side: int, *, name: str, key: str | None, precision: str, threads: int) -> Run:
    """`body`, (B,3,side,side) float32 -> (B,D), as a function that `threads` threads may call at once, a core each.

    `precision`: "f32", "bf16" or "f16", in which it computes. `key`: what tells the weights, under which the converted
    network is kept for the next run; None keeps nothing.
    """
    import openvino

    core = openvino.Core()
    kept = None if key is None else _kept(name, side, key)
    if kept is None or not kept.exists():
        log.info("converting %s for OpenVINO, which is done once", name)
        batch = torch.export.Dim("batch", min=1, max=1 << 16)
        example = torch.zeros(2, 3, side, side)
        exported = torch.export.export(body, (example,), dynamic_shapes=({0: batch},))
        model = openvino.convert_model(exported)
        if kept is not None:
            _keep(model, kept)
    else:
        model = core.read_model(kept)
    prepost = openvino.preprocess.PrePostProcessor(model)
    prepost.input().tensor().set_layout(openvino.Layout("NHWC"))  # as our images lie in memory
    prepost.input().model().set_layout(openvino.Layout("NCHW"))
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the cores are also the decoders'
    }
    compiled = core.compile_model(prepost.build(), "CPU", options)
    local = threading.local()

    def run(images: torch.Tensor) -> torch.Tensor:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        (features,) = local.request.infer([pixels], share_inputs=True).values()
        return torch.from_numpy(features.copy()).flatten(1)

    return run


def _kept(name: str, side: int, key: str) -> Path:
    packages = ("openvino", "torch", "torchvision", "timm", "vfx")
    made_of = " ".join([name, str(side), key, *(version(package) for package in packages)])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    return cache_folder() / "openvino" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-{digest}.xml"


def _keep(model: Any, path: Path) -> None:
    """Save a converted network; runs that do so at once each write their own, and the last name stands."""
    import openvino

    make_folder(path.parent)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    openvino.save_model(model, temporary, compress_to_fp16=False)
    # The weights first: a description without them would be taken for whole.
    temporary.with_suffix(".bin").rename(path.with_suffix(".bin"))
    temporary.rename(path)
