"""Gives networks their weights: published ones, those of a file, or random ones."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vfx.errors import WeightsError
from vfx.models.checkpoint import StateDict, module_versions, read_checkpoint, with_versions
from vfx.models.network import Weights
from vfx.models.published_weights import Published, download
from vfx.system.files import sha256

log = logging.getLogger("vfx")

SEED = 0
INITIALISERS = (Tensor.normal_, Tensor.uniform_)
RANDOM = Weights(source=f"random (seed {SEED})", licence="none")


def construct(build: Callable[[], nn.Module], weights: str) -> nn.Module:
    """The network that `build` returns, ready for `load`.

    `random` weights are initialised, the same each time. For others the network is built on the meta device, without
    values, unless it computes with tensors while it is built: 828 million parameters then take no time and memory in
    place of 19 s and 3.3 GB.
    """
    if weights == "random":
        with torch.random.fork_rng(devices=[]), _NoMetaInit():
            torch.default_generator.manual_seed(SEED)
            return build()
    try:
        with torch.device("meta"), _NoMetaInit():
            network = build()
    except (RuntimeError, NotImplementedError):  # it computes with tensors while it is built, as RegNet does
        return build()
    return network if _all_in_state_dict(network) else build()


class _NoMetaInit(TorchFunctionMode):
    """Skips the initialisation of tensors on the meta device, for which torch would import its compiler."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        initialises = function in INITIALISERS or getattr(function, "__module__", None) == nn.init.__name__
        return target if initialises and isinstance(target, Tensor) and target.is_meta else function(*args, **kwargs)


def _all_in_state_dict(network: nn.Module) -> bool:
    """Whether the state_dict holds every tensor: no non-persistent buffer, no tensor as a plain attribute."""
    buffers = {name for name, _ in network.named_buffers(remove_duplicate=False)}
    attributes = (value for module in network.modules() for value in vars(module).values())
    return buffers <= set(network.state_dict()) and not any(isinstance(value, Tensor) for value in attributes)


def load(
    network: nn.Module,
    weights: str,
    published: Published | None,
    *,
    head: str | tuple[str, ...],
    convert: Callable[[StateDict], StateDict] | None = None,
) -> Weights:
    """Load weights into a network that `construct` returned.

    Args:
        network: What `construct` returned.
        weights: `pretrained`, `random`, or the path of a .safetensors file or of one that torch.save wrote.
        published: The weights that `pretrained` means; None where there are none.
        head: The classifier's module, or several; see `fit`.
        convert: From the tensor names of the file to those of the network.

    Returns:
        Where the weights came from.

    Raises:
        WeightsError: Where they cannot be read, or do not fit.
    """
    if weights == "random":
        return RANDOM
    state, loaded = read(weights, published)
    fit(network, convert(state) if convert else state, origin=loaded.source, head=head)
    return loaded


def read(weights: str, published: Published | None) -> tuple[StateDict, Weights]:
    """The tensors of `pretrained` weights or of a file, by name, and where they came from.

    Raises:
        WeightsError: Where the file cannot be had, has another hash than its name says, or would have to run code.
    """
    path = _locate(weights, published)
    digest = sha256(path)
    genuine = published is not None and published.sha256 != "" and digest.startswith(published.sha256)
    if published and published.sha256 and path.name == published.path.name and not genuine:
        raise published.wrong_hash(path, digest, fetched=weights == "pretrained" and published.fetch is download)
    if published and weights == "pretrained":
        loaded = Weights(published.url, published.licence, digest)
    else:
        licence = published.licence if published and genuine else "unknown (a local file)"
        loaded = Weights(str(path), licence, digest)
    restricted = re.search(r"\bnc\b|non-?commercial", loaded.licence, re.IGNORECASE)
    level = logging.WARNING if restricted else logging.INFO
    log.log(level, "weights: %s (licence: %s)", loaded.source, loaded.licence)
    return read_checkpoint(path), loaded


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


def fit(network: nn.Module, state: StateDict, *, origin: str, head: str | tuple[str, ...]) -> None:
    """Make the tensors of `state` those of `network`, as float32.

    A classifier that is missing or of another shape is left out, as features do not need it: Identity takes its place.

    Args:
        network: What to load into.
        state: Tensors by the network's names.
        origin: Where they came from, for the error.
        head: The classifier's module, or several.

    Raises:
        WeightsError: Where anything but the classifier does not fit.
    """
    heads = tuple(f"{name}." for name in ([head] if isinstance(head, str) else head))
    floats = ((key, value.float() if value.is_floating_point() else value) for key, value in state.items())
    state = with_versions(OrderedDict(floats), module_versions(state))
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


def _assign(network: nn.Module, state: StateDict) -> dict[str, str]:
    """Load `state` strictly; returns what does not fit, in words by tensor."""
    try:
        # assign: the network takes the tensors themselves, so that memory holds them once.
        network.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, ValueError) as error:
        # torch alone knows what older checkpoints may lack, so its verdict counts.
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
