"""Compiles networks for the device they run on: with torch.compile, or with OpenVINO for a CPU."""

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
INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"
Run = Callable[[torch.Tensor], torch.Tensor]

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder of compiled networks: `$XDG_CACHE_HOME/vfx`, or `~/.cache/vfx`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vfx"


def check_compiler(compiler: object, device: str) -> None:
    """Check that a compiler exists, is installed, and compiles for a kind of device.

    Raises:
        UsageError: Where it does not.
    """
    if compiler not in COMPILERS:
        raise UsageError(f"model.compile ({compiler}) must be false, true or openvino")
    if compiler == "openvino":
        if device != "cpu":
            raise UsageError(f"model.compile (openvino) is for processors, not for {device}; take model.compile=true")
        need("openvino", extra="openvino", for_="model.compile=openvino")


def compile_with_torch(body: nn.Module) -> Run:
    """Compile `body` with torch.compile at its first call, for the batch size of that call.

    Each further batch size would be compiled too, so that smaller batches must be padded.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(INDUCTOR_CACHE) in (None, default_cache_dir()):  # it lies in /tmp, which many systems empty
        os.environ[INDUCTOR_CACHE] = str(cache_folder() / "inductor")
    return torch.compile(body, dynamic=False)


def compile_with_openvino(
    body: nn.Module, side: int, *, name: str, key: str | None, precision: str, threads: int
) -> Run:
    """Compile `body`, (B,3,side,side) float32 -> (B,D), into a function that `threads` threads may call at once.

    Args:
        body: The network.
        side: Pixels of its input's side.
        name: The network's name, for the file in the cache and for the log.
        key: Identifies the weights. The converted network is cached under it; None caches nothing.
        precision: "f32", "bf16" or "f16", in which it computes.
        threads: Inference threads, one core each.
    """
    import openvino

    core = openvino.Core()
    cached = None if key is None else _cache_path(name, side, key)
    if cached is None or not cached.exists():
        log.info("converting %s for OpenVINO, which is done once", name)
        model = _convert(body, side)
        if cached is not None:
            _save(model, cached)
    else:
        model = core.read_model(cached)
    prepost = openvino.preprocess.PrePostProcessor(model)
    prepost.input().tensor().set_layout(openvino.Layout("NHWC"))  # channels_last memory
    prepost.input().model().set_layout(openvino.Layout("NCHW"))
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # decoding uses the cores too
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


def _convert(body: nn.Module, side: int) -> Any:
    """An OpenVINO model of any batch size."""
    import openvino

    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    example = torch.zeros(2, 3, side, side)
    exported = torch.export.export(body, (example,), dynamic_shapes=({0: batch},))
    return openvino.convert_model(exported)


def _cache_path(name: str, side: int, key: str) -> Path:
    packages = ("openvino", "torch", "torchvision", "timm", "vfx")
    made_of = " ".join([name, str(side), key, *(version(package) for package in packages)])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    return cache_folder() / "openvino" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-{digest}.xml"


def _save(model: Any, path: Path) -> None:
    """Save a converted network atomically, as several runs may do so at once."""
    import openvino

    make_folder(path.parent)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    openvino.save_model(model, temporary, compress_to_fp16=False)
    # The weights first: a .xml without its .bin would be taken for complete.
    temporary.with_suffix(".bin").rename(path.with_suffix(".bin"))
    temporary.rename(path)
