"""Weights: found or fetched, hashed, read without running any code in them, and fitted to their network."""

from __future__ import annotations

import argparse
import logging
import pickle
import re
import sys
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vfx.errors import WeightsError
from vfx.models.network import Weights
from vfx.system.files import sha256

log = logging.getLogger("vfx")

SEED = 0
DRAWS = (Tensor.normal_, Tensor.uniform_)
RANDOM = Weights(source=f"random (seed {SEED})", licence="none")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # timm's order: the average first
PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")  # torch.compile's and DataParallel's, either way round

StateDict = dict[str, Tensor]


def cache_path(filename: str) -> Path:
    """Where torch's hub keeps the file of that name."""
    return Path(torch.hub.get_dir()) / "checkpoints" / filename


@dataclass(frozen=True)
class Published:
    """Weights as the authors of a network publish them.

    `url`: what a person would fetch. `path`: the file on this machine, once it is there. `fetch`: brings it,
    and returns where it lies; raises WeightsError. `sha256`: the first digits of its hash, as far as known.
    """

    url: str
    licence: str
    path: Path
    fetch: Callable[[Published], Path]
    sha256: str = ""

    @classmethod
    def at(cls, url: str, *, licence: str) -> Published:
        """Weights at a URL; a name like `resnet50-0676ba61.pth` tells the first digits of their hash."""
        filename = PurePosixPath(url).name
        known = re.search(r"-([0-9a-f]{8,64})\.\w+$", filename)
        return cls(url, licence, cache_path(filename), download, sha256=known.group(1) if known else "")

    def unreachable(self, error: object) -> WeightsError:
        """The error that says what could not be fetched, and how to do without."""
        return WeightsError(
            f"cannot fetch {self.url} ({error}). Fetch it where there is a network and put it at {self.path}, "
            f"or give the file: model.weights=<file>"
        )

    def refuse(self, path: Path, digest: str, *, fetched: bool) -> WeightsError:
        """The error that says that a file is not this one. One that was `fetched`, not given, is set aside first."""
        wrong = f"is damaged or not what its name says: its sha256 begins {digest[:8]}, not {self.sha256}"
        aside = self.path.with_name(f"{self.path.name}.refused")
        if fetched:
            with suppress(OSError):
                path.replace(aside)
                return WeightsError(
                    f"{self.path} {wrong}. It lies in {aside} now; run again to fetch it from {self.url}"
                )
        return WeightsError(f"{path} {wrong}. Delete it, and it is fetched again from {self.url}")


def download(published: Published) -> Path:
    """Fetch a URL into torch's hub cache; a download that fails leaves nothing there, one of another hash nothing under
    that name."""
    fetched = published.path.with_name(f".{published.path.name}.{uuid.uuid4().hex[:8]}")
    try:
        published.path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(published.url, str(fetched), progress=sys.stderr.isatty())
        digest = sha256(fetched)
        if not digest.startswith(published.sha256):
            raise published.refuse(fetched, digest, fetched=True)
        fetched.replace(published.path)
    except (OSError, HTTPException) as error:
        raise published.unreachable(error) from error
    finally:
        fetched.unlink(missing_ok=True)
    return published.path


def construct(build: Callable[[], nn.Module], weights: str) -> nn.Module:
    """The network that `build` builds, ready for `load`: `random` weights are drawn, the same each time.

    Others are not drawn at all where that can be helped, which takes 828 million parameters from 19 seconds
    and 3.3 GB to nothing: built on the meta device, a network has no values until it is given those of a file.
    """
    if weights == "random":
        with torch.random.fork_rng(devices=[]), _Undrawn():
            torch.default_generator.manual_seed(SEED)
            return build()
    try:
        with torch.device("meta"), _Undrawn():
            network = build()
    except (RuntimeError, NotImplementedError):  # it computes with tensors while it is built, as RegNet does
        return build()
    return network if _all_in_files(network) else build()


class _Undrawn(TorchFunctionMode):
    """Draws no values for tensors on the meta device, which have none: torch would import its compiler for that."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        drawn = args[0] if args else kwargs.get("tensor")
        draws = function in DRAWS or getattr(function, "__module__", None) == nn.init.__name__
        return drawn if draws and isinstance(drawn, Tensor) and drawn.is_meta else function(*args, **kwargs)


def load(
    network: nn.Module,
    weights: str,
    published: Published | None,
    *,
    head: str | tuple[str, ...],
    convert: Callable[[StateDict], StateDict] | None = None,
) -> Weights:
    """Give a network that was `construct` made its weights.

    `weights`: `pretrained`, `random`, or the path of a .safetensors file or of one that torch.save wrote.
    `convert`: from the names in the file to those of the network. `head`: see `fit`. Raises WeightsError.
    """
    if weights == "random":
        return RANDOM
    state, loaded = read(weights, published)
    fit(network, convert(state) if convert else state, origin=loaded.source, head=head)
    return loaded


def read(weights: str, published: Published | None) -> tuple[StateDict, Weights]:
    """The tensors of `pretrained` weights or of a file, by name, on the CPU; mapped, not copied, where it can be.

    Raises WeightsError where the file cannot be had, is not what its name says, or would need code to be run.
    """
    path = _locate(weights, published)
    digest = sha256(path)
    genuine = published is not None and published.sha256 != "" and digest.startswith(published.sha256)
    if published and published.sha256 and path.name == published.path.name and not genuine:
        raise published.refuse(path, digest, fetched=weights == "pretrained" and published.fetch is download)
    if published and weights == "pretrained":
        loaded = Weights(published.url, published.licence, digest)
    else:
        licence = published.licence if published and genuine else "unknown (a local file)"
        loaded = Weights(str(path), licence, digest)
    _announce(loaded)
    return _unwrap(_open(path), path), loaded


def fit(network: nn.Module, state: StateDict, *, origin: str, head: str | tuple[str, ...]) -> None:
    """Put the tensors of `state` into `network` in place of its own, as float32.

    A classifier (`head`: its module, or several) that is missing or of another shape is left out, since
    features do not need it: Identity stands in its place. Raises WeightsError with the first few tensors where
    anything else does not fit.
    """
    heads = tuple(f"{name}." for name in ([head] if isinstance(head, str) else head))
    floats = ((key, value.float() if value.is_floating_point() else value) for key, value in state.items())
    state = _with_versions(OrderedDict(floats), _versions(state))
    misfits = _assign(network, state)
    if not misfits:
        return
    if not all(key.startswith(heads) for key in misfits):
        raise WeightsError(
            f"{origin} does not fit the network: {_first_few(list(misfits.values()))}; give"
            " the model that it is of (model=..., model.name=...), or its own weights"
        )
    log.warning("%s has no classifier that fits; features do not need it", origin)
    for name in heads:
        network.set_submodule(name[:-1], nn.Identity())
    _assign(network, {key: tensor for key, tensor in state.items() if not key.startswith(heads)})


def _all_in_files(network: nn.Module) -> bool:
    """Whether a state_dict holds every tensor of the network: no buffer left out of it, no mere attribute."""
    buffers = {name for name, _ in network.named_buffers(remove_duplicate=False)}
    attributes = (value for module in network.modules() for value in vars(module).values())
    return buffers <= set(network.state_dict()) and not any(isinstance(value, Tensor) for value in attributes)


def _locate(weights: str, published: Published | None) -> Path:
    if weights != "pretrained":
        path = Path(weights).expanduser().absolute()
        if not path.is_file():
            raise WeightsError(
                f"model.weights ({weights}) must be `pretrained`, `random` or a file; there is no file {path}"
            )
        return path
    if published is None:
        raise WeightsError("no pretrained weights of this network are published; give a file: model.weights=<file>")
    return published.path if published.path.is_file() else published.fetch(published)


def _announce(weights: Weights) -> None:
    restricted = re.search(r"\bnc\b|non-?commercial", weights.licence, re.IGNORECASE)
    level = logging.WARNING if restricted else logging.INFO
    log.log(level, "weights: %s (licence: %s)", weights.source, weights.licence)


def _open(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Namespace is what training scripts keep their options in; it is data. Only the format of torch 1.6
        # and later, a zip, can be mapped.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(
                f"{path} is refused: to read it, code would have to run ({wanted.group(1)}). None was run. "
                f"Save the network's state_dict() alone, or as .safetensors"
            ) from None
        raise _unreadable(path, error) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return WeightsError(
        f"{path} cannot be read as weights, and may be damaged or cut short: {reason}; copy it again, or delete it if"
        " vfx fetched it, and it will be fetched again"
    )


def _unwrap(checkpoint: Any, path: Path) -> StateDict:
    """The table of tensors inside a training checkpoint, without the prefixes of what wrapped the network."""
    if isinstance(checkpoint, Mapping):
        checkpoint = next((checkpoint[k] for k in WRAPPERS if isinstance(checkpoint.get(k), Mapping)), checkpoint)
    if not isinstance(checkpoint, Mapping) or not any(isinstance(v, Tensor) for v in checkpoint.values()):
        raise WeightsError(f"{path} holds no table of named tensors (a state_dict); save the network's state_dict()")
    state = OrderedDict((_bare(key), value) for key, value in checkpoint.items() if isinstance(value, Tensor))
    return _with_versions(state, {_bare(key): value for key, value in _versions(checkpoint).items()})


def _versions(state: Mapping[str, Any]) -> dict[str, Any]:
    """What torch.save notes beside a state_dict: the version of each module, by which old ones are read."""
    return getattr(state, "_metadata", {})


def _with_versions(state: OrderedDict[str, Tensor], versions: dict[str, Any]) -> StateDict:
    if versions:
        state._metadata = versions  # type: ignore[attr-defined]
    return state


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _assign(network: nn.Module, state: StateDict) -> dict[str, str]:
    """Load `state` strictly; what does not fit, by tensor, in words. Empty where all is well."""
    try:
        # assign: the tensors of the file become the network's, so that they are held once.
        network.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, ValueError) as error:
        # torch alone knows what older checkpoints may leave out, so its verdict is taken rather than ours.
        return _misfits(str(error)) or {"": str(error)}
    return {}


def _misfits(message: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in ("Missing", "Unexpected"):
        for listed in re.findall(rf"{kind} key\(s\) in state_dict: (.*)", message):
            found |= {key: f"{kind.lower()} {key}" for key in re.findall(r'"([^"]+)"', listed)}
    shapes = r"size mismatch for (\S+): .*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)"
    for key, given, wanted in re.findall(shapes, message):
        found[key] = f"{key} is {given}, must be {wanted}"
    return found


def _first_few(words: list[str], few: int = 6) -> str:
    more = f"; and {len(words) - few} more" if len(words) > few else ""
    return "; ".join(words[:few]) + more
