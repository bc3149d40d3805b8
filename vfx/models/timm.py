"""Any network of timm, cut before its classifier."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast
from urllib.parse import urlparse

from torch import Tensor, nn

from vfx.errors import ModelError
from vfx.models.checkpoint import StateDict
from vfx.models.network import Network, check_layer, check_name, cut_head
from vfx.models.published_weights import Published, cache_path
from vfx.models.transforms import Transform
from vfx.models.weights import construct, load
from vfx.system import fast_imports

timm = fast_imports.load("timm")


def build(
    *,
    name: str,
    layer: str = "pre_logits",
    weights: str = "pretrained",
    architecture: str | None = None,
    channels_last: bool = True,
) -> Network:
    """Build a network of timm, cut before its classifier.

    Args:
        name: The first part of the feature's name.
        layer: `pre_logits`, or `avgpool` where the classifier reads the global average.
        weights: `pretrained`, `random`, or a file, also of the format that the network's authors publish.
        architecture: timm's name of the network, where that is not `name`.
        channels_last: Whether the network is faster in that memory layout.

    Raises:
        ModelError: For a network or layer that does not exist, or features or crops that vfx does not do.
        WeightsError: Where the weights cannot be fetched or read, or do not fit.
    """
    architecture = _checked(name, architecture or name)
    evaluated = transform(architecture)
    cfg = _config(architecture)
    head_name = cfg.get("classifier") or ()
    with _recorded_load_options() as options:
        network = construct(partial(timm.create_model, architecture, pretrained=True), weights)
    if not hasattr(network, "get_classifier"):
        raise ModelError(
            f"{architecture} is an encoder for other uses: it has no pooled features; take another (python -m"
            " vfx.models filter=<part of a name>)"
        )
    check_layer(layer, _layers(network), of=name)
    convert = partial(_convert, network=network, options=options)
    loaded = load(network, weights, _published(cfg), head=head_name, convert=convert)
    head = cut_head(network, head_name) if isinstance(head_name, str) else None
    return Network(
        name,
        layer,
        PreLogits(network),
        head,
        dim=cast(int, network.head_hidden_size),
        transform=evaluated,
        weights=loaded,
        channels_last=channels_last,
    )


def _checked(name: str, architecture: str) -> str:
    if set(name + architecture) & set("/,+:"):
        raise ModelError(
            f"model.name ({name}) may not hold `/ , + :`, as it names a folder; networks from elsewhere on the "
            f"Hugging Face hub: model.name=<timm's name> model.weights=<file>"
        )
    check_name(architecture, [*timm.list_pretrained(), *timm.list_models()], of="timm")
    return architecture


@contextmanager
def _recorded_load_options() -> Iterator[dict[str, Any]]:
    """Record the options with which timm would load pretrained weights, in place of loading them.

    They hold the family's converter of published checkpoints, which timm hands to no public function. vfx reads, checks
    and fits the weights itself.
    """
    builder = timm.models._builder
    options: dict[str, Any] = {}
    original = builder.load_pretrained
    builder.load_pretrained = lambda _, **given: options.update(given)
    try:
        yield options
    finally:
        builder.load_pretrained = original


class PreLogits(nn.Module):
    """A network of timm up to the input of its classifier: (B,3,h,w) -> (B,dim)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)


def transform(architecture: str) -> Transform:
    """The transform with which timm evaluates a network.

    Raises:
        ModelError: Where vfx has no such crop.
    """
    cfg = timm.data.resolve_data_config(pretrained_cfg=_config(architecture))
    _, height, width = cfg["input_size"]
    mode, fraction = cfg["crop_mode"], cfg["crop_pct"]
    if height != width or mode not in ("center", "squash") or fraction > 1:
        raise ModelError(
            f"{architecture} is evaluated on {height}x{width} pixels with a `{mode}` crop of {fraction:.3g} of "
            f"the frame; vfx takes square crops of mode center or squash, of at most the whole frame:"
            " take another (python -m vfx.models filter=<part of a name>)"
        )
    resize = math.floor(height / fraction)
    return Transform(
        resize=(resize, resize) if mode == "squash" else resize,
        crop=height,
        interpolation=cast(Literal["bilinear", "bicubic"], cfg["interpolation"]),
        mean=cfg["mean"],
        std=cfg["std"],
    )


def _config(architecture: str) -> dict[str, Any]:
    cfg = timm.get_pretrained_cfg(architecture)
    return cfg.to_dict() if cfg else {}


def _layers(network: nn.Module) -> list[str]:
    """The names of the cut: `avgpool` too where it lies right after global average pooling."""
    families = (timm.models.ResNet, timm.models.EfficientNet)
    average = isinstance(network, families) and network.global_pool.pool_type == "avg"
    return ["pre_logits", "avgpool"] if average else ["pre_logits"]


def _convert(state: StateDict, *, network: nn.Module, options: dict[str, Any]) -> StateDict:
    if converter := options.get("filter_fn"):
        both = len(inspect.signature(converter).parameters) > 1  # a few take no network
        # A converter fails on the weights of another network; `fit` then says what does not fit.
        with suppress(LookupError, RuntimeError, ValueError, AttributeError, AssertionError):
            state = converter(state, network) if both else converter(state)
    if options.get("strict", True):
        return state
    # Where timm is not strict, files hold parts for training alone, as inception_v3's second classifier.
    wanted = network.state_dict()
    return {key: tensor for key, tensor in state.items() if key in wanted}


def _published(cfg: dict[str, Any]) -> Published | None:
    licence = cfg.get("license") or "unknown"
    if cfg.get("hf_hub_id"):
        import huggingface_hub  # here, as most networks do without

        url = huggingface_hub.hf_hub_url(cfg["hf_hub_id"], "model.safetensors")
        return Published(url, licence, cache_path(f"{cfg['hf_hub_id'].replace('/', '--')}.safetensors"), _from_hub)
    return Published.at(cfg["url"], licence=licence) if cfg.get("url") else None


def _from_hub(published: Published) -> Path:
    """The file in the Hugging Face cache, fetched if need be: `model.safetensors`, or the older pickle."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository = "/".join(PurePosixPath(urlparse(published.url).path).parts[1:3])
    # The base class of HfHubHTTPError is its HTTP client's error, and the client depends on the hub's version.
    network_errors: tuple[type[Exception], ...] = (OSError, *cast(Any, HfHubHTTPError.__bases__))
    try:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # not in the cache, and the hub did not answer
                raise
            return Path(huggingface_hub.hf_hub_download(repository, "pytorch_model.bin"))
    except network_errors as error:
        reason = str(error).partition("\n")[0]
        raise published.unreachable(reason) from error
