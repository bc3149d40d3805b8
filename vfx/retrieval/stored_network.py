"""Extracts the features of one more picture by the network that made a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vfx.errors import OutputError, UsageError, WeightsError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.find import open_feature
from vfx.outputs.recipe import differences, network_recipe
from vfx.pooling.functions import Pooling
from vfx.retrieval.query import mean_crop

if TYPE_CHECKING:
    from vfx.models import Network

OTHERWISE = "give frame=, video= or segment= instead"


def pooled_from(file: FeatureFile) -> list[FeatureFile]:
    """The features that a feature was made of: itself, what it was pooled from, and so on to what the network made.

    Raises:
        UsageError: The feature was not made by vfx.extract and vfx.pool, or one of these files has gone or changed.
    """
    files = [file]
    recipe = file.provenance["recipe"]
    while "model" not in recipe:
        if "concat" in recipe:
            raise UsageError(f"{file.feature} is a concatenation: search with image= in one of its parts; {OTHERWISE}")
        if not isinstance(recipe.get("source"), dict) or "pooling" not in recipe:
            raise UsageError(
                f"{file.feature} was not made by vfx.extract: what network made it is not known; {OTHERWISE}"
            )
        try:
            source = open_feature(file.path.parent.parent, str(recipe["source"].get("feature")))
        except OutputError as error:
            raise UsageError(f"{file.feature} was pooled from a feature that is needed for image=: {error}") from None
        if source.provenance["recipe"] != recipe["source"].get("recipe"):
            raise UsageError(
                f"{file.feature} was pooled from another {source.feature} than {source.path}: pool it again"
            )
        files.append(source)
        file, recipe = source, source.provenance["recipe"]
    return files


def check_random_weights(file: FeatureFile) -> None:
    """Check that this version of torch draws the random weights of a feature's network.

    Raises:
        WeightsError: They were drawn by another version.
    """
    import torch

    made = file.provenance.get("versions", {}).get("torch")
    if made not in (torch.__version__, torch.__version__.partition("+")[0]):
        raise WeightsError(
            f"the random weights of {file.feature} were drawn by torch {made}, not {torch.__version__}:"
            " extract anew with this one, or search by an id"
        )


def check_network(network: Network, file: FeatureFile) -> None:
    """Check that a network is the one that made a feature, with the same weights and transform.

    Raises:
        WeightsError: It is another.
    """
    here = network_recipe(network)
    there = {key: file.provenance["recipe"].get(key) for key in here}
    if found := differences(there, here):
        differ = ", ".join(f"{each.key} {each.there} there, {each.here} here" for each in found)
        raise WeightsError(
            f"{file.feature} was not made by the network, weights and transform that are here: {differ}; weights=<file>"
            " says where the right weights are"
        )


def embed(
    network: Network, pixels: NDArray[np.uint8], *, oversample: Any, poolings: Sequence[Pooling]
) -> NDArray[np.floating]:
    """Extract the features of a picture.

    Args:
        network: The network.
        pixels: (H, W, 3).
        oversample: Of the extraction: False, True or "keep".
        poolings: What the features went through after it, in this order.

    Returns:
        (D,). Of ten crops kept apart, the mean.
    """
    import torch

    from vfx.inference.encoder import Encoder

    encoder = Encoder(network, oversample=oversample)
    with torch.inference_mode():
        row = encoder([encoder.preprocess(pixels[None].copy())])[0].numpy()
    for pool in poolings:
        row = pool([row[None]], 1)
    return mean_crop(row)
