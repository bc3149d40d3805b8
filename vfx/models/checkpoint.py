"""Reads the tensors of a checkpoint file without running any code in it."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vfx.errors import WeightsError

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # timm's order: averaged weights first
PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")  # of torch.compile and DataParallel, in either order

StateDict = dict[str, Tensor]


def read_checkpoint(path: Path) -> StateDict:
    """The tensors of a .safetensors file or of one that torch.save wrote, by name, on the CPU.

    They are mapped rather than copied, where the format allows it. A state_dict inside a training checkpoint is found,
    and the prefixes of torch.compile and DataParallel are removed.

    Raises:
        WeightsError: Where the file cannot be read, would have to run code, or holds no state_dict.
    """
    return _state_dict(_load(path), path)


def module_versions(state: Mapping[str, Any]) -> dict[str, Any]:
    """The versions of modules that a state_dict carries, by which torch reads old ones; empty where it has none."""
    return getattr(state, "_metadata", {})


def with_versions(state: OrderedDict[str, Tensor], versions: dict[str, Any]) -> StateDict:
    """`state`, made to carry these versions."""
    state._metadata = versions  # type: ignore[attr-defined]
    return state


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Training scripts keep their options in a Namespace, which is plain data. Only the format of torch 1.6 and
        # later, a zip, can be mapped.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, SafetensorError) as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted and isinstance(error, pickle.UnpicklingError):
            raise WeightsError(
                f"{path} is refused: to read it, code would have to run ({wanted.group(1)}). None was run. "
                f"Save the network's state_dict() alone, or as .safetensors"
            ) from None
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as weights, and may be damaged or cut short: {reason}; copy it again, or delete it"
            " if vfx fetched it, and it will be fetched again"
        ) from error


def _state_dict(checkpoint: Any, path: Path) -> StateDict:
    if isinstance(checkpoint, Mapping):
        checkpoint = next((checkpoint[k] for k in WRAPPERS if isinstance(checkpoint.get(k), Mapping)), checkpoint)
    if not isinstance(checkpoint, Mapping) or not any(isinstance(v, Tensor) for v in checkpoint.values()):
        raise WeightsError(f"{path} holds no table of named tensors (a state_dict); save the network's state_dict()")
    state = OrderedDict((_bare(key), value) for key, value in checkpoint.items() if isinstance(value, Tensor))
    return with_versions(state, {_bare(key): value for key, value in module_versions(checkpoint).items()})


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key
