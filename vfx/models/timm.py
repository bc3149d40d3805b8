"""Any network of timm, cut before its classifier."""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast
from unittest.mock import patch
from urllib.parse import urlparse

from torch import Tensor, nn

from vfx import lean
from vfx.errors import ModelError
from vfx.models.network import Network, check_layer, check_name, cut
from vfx.models.transforms import Transform
from vfx.models.weights import Published, StateDict, cache_path, construct, load

timm = lean.load("timm")


def build(
    *,
    name: str,
    layer: str = "pre_logits",
    weights: str = "pretrained",
    architecture: str | None = None,
    channels_last: bool = True,
) -> Network:
    """A network of timm, giving what its classifier reads.

    `name`: as in the name of the feature; `architecture`: timm's own name, where that is another.
    Raises ModelError, WeightsError.
    """
    architecture = architecture or name
    if set(name + architecture) & set("/,+:"):
        raise ModelError(
            f"model.name ({name}) may not hold `/ , + :`, as it names a folder; networks from elsewhere on the "
            f"Hugging Face hub: model.name=<timm's name> model.weights=<file>"
        )
    check_name(architecture, [*timm.list_pretrained(), *timm.list_models()], of="timm")
    evaluated = transform(architecture)
    cfg = _config(architecture)
    head_name = cfg.get("classifier") or ()
    timms: dict[str, Any] = {}  # what timm would load the weights with
    # Each of timm's families has a converter for its published checkpoints, and hands it to this function
    # alone. It is asked for in its place; our own loader then reads, checks and fits.
    ask = patch.object(timm.models._builder, "load_pretrained", lambda _, **options: timms.update(options))
    with ask:
        network = construct(partial(timm.create_model, architecture, pretrained=True), weights)
    if not hasattr(network, "get_classifier"):
        raise ModelError(
            f"{architecture} is an encoder for other uses: it has no pooled features; take another (python -m"
            " vfx.models filter=<part of a name>)"
        )
    check_layer(layer, _layers(network), of=name)
    convert = partial(_convert, network=network, timms=timms)
    loaded = load(network, weights, _published(cfg), head=head_name, convert=convert)
    head = cut(network, head_name) if isinstance(head_name, str) else None
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


class PreLogits(nn.Module):
    """A network of timm up to what its classifier reads: (B,3,h,w) -> (B,dim)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)


def transform(architecture: str) -> Transform:
    """What timm evaluates a network with. Raises ModelError where vfx has no such crop."""
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
    """The names that are true of the cut: `avgpool` where it lies straight after a global average."""
    families = (timm.models.ResNet, timm.models.EfficientNet)
    average = isinstance(network, families) and network.global_pool.pool_type == "avg"
    return ["pre_logits", "avgpool"] if average else ["pre_logits"]


def _convert(state: StateDict, *, network: nn.Module, timms: dict[str, Any]) -> StateDict:
    if converter := timms.get("filter_fn"):
        both = len(inspect.signature(converter).parameters) > 1  # a few take no network
        # Over the weights of another network a converter stumbles: let the fitting say what does not fit.
        with suppress(LookupError, RuntimeError, ValueError, AttributeError, AssertionError):
            state = converter(state, network) if both else converter(state)
    if timms.get("strict", True):
        return state
    # Where timm does not insist, files hold parts for training alone, as inception_v3's second classifier.
    wanted = network.state_dict()
    return {key: tensor for key, tensor in state.items() if key in wanted}


def _published(cfg: dict[str, Any]) -> Published | None:
    licence = cfg.get("license") or "unknown"
    if cfg.get("hf_hub_id"):
        import huggingface_hub  # late, as most networks do without

        url = huggingface_hub.hf_hub_url(cfg["hf_hub_id"], "model.safetensors")
        return Published(url, licence, cache_path(f"{cfg['hf_hub_id'].replace('/', '--')}.safetensors"), _from_hub)
    return Published.at(cfg["url"], licence=licence) if cfg.get("url") else None


def _from_hub(published: Published) -> Path:
    """The file in the Hugging Face cache, fetched if need be: `model.safetensors`, or the older pickle."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository = "/".join(PurePosixPath(urlparse(published.url).path).parts[1:3])
    # HfHubHTTPError stands on that of its HTTP client, which is another one by version: catch what it stands on.
    network_errors: tuple[type[Exception], ...] = (OSError, *cast(Any, HfHubHTTPError.__bases__))
    try:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # not in the cache, and no network: no answer at all
                raise
            return Path(huggingface_hub.hf_hub_download(repository, "pytorch_model.bin"))
    except network_errors as error:
        reason = str(error).partition("\n")[0]
        raise published.unreachable(reason) from error
