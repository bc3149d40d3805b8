"""An encoder gives the network's features, however its memory, its precision and its batches are."""

import copy

import pytest
import torch
from torch import nn

from vfx.errors import ExtractionError
from vfx.inference.encoder import Encoder
from vfx.models import Network, Weights, efficientnet_lite
from vfx.models.transforms import Transform

TRANSFORM = Transform(resize=40, crop=32, interpolation="bilinear", mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))


class Hungry(nn.Module):
    """Runs out of memory with more than `most` images at once, as torch says it of each device."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        super().__init__()
        self.most, self.error = most, error
        self.passes: list[int] = []
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes.append(len(images))
        if len(images) > self.most:
            raise self.error
        return images.mean((2, 3)) * self.weight


def encoder(body: nn.Module, **options: object) -> Encoder:
    network = Network("n", "avgpool", body, None, 3, TRANSFORM, Weights("made here", "none"))
    return Encoder(network, **options)


def frames(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_a_batch_for_which_memory_does_not_suffice_is_halved_and_not_lost(error: RuntimeError) -> None:
    hungry = Hungry(3, error)
    made = encoder(hungry)
    with torch.inference_mode():
        features = made([frames(6), frames(4, seed=1)])
        torch.testing.assert_close(features, encoder(Hungry(100, error))([frames(6), frames(4, seed=1)]))
        assert hungry.passes == [10, 5, 2, 2, 2, 2, 2]
        made([frames(4)])
    assert hungry.passes[7:] == [2, 2], "it knows from then on"


def test_smaller_batches_are_filled_up_to_one_size_also_where_memory_runs_out() -> None:
    hungry = Hungry(3, torch.OutOfMemoryError("CUDA out of memory."))
    made = encoder(hungry)
    made.pad_batches(8)
    wanted = encoder(Hungry(100, RuntimeError()))
    for count in (3, 5):
        torch.testing.assert_close(made([frames(count)]), wanted([frames(count)]))
    assert hungry.passes == [8, 4, 2, 2, 2, 2, 2]


def test_one_image_that_is_too_much_is_said() -> None:
    with pytest.raises(ExtractionError, match="n needs more memory than there is, even for one image; take a smaller"):
        encoder(Hungry(0, torch.OutOfMemoryError("CUDA out of memory.")))([frames(3)])


def test_another_error_passes() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        encoder(Hungry(0, RuntimeError("shapes do not fit")))([frames(3)])


@pytest.mark.dear
def test_weights_kept_in_bf16_give_what_autocast_gives() -> None:
    network = efficientnet_lite.build()
    plain, lowered = Encoder(copy.deepcopy(network)), Encoder(network)
    lowered.convert_weights(torch.bfloat16)
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(lowered([images]), plain([images]), rtol=0, atol=0)


@pytest.mark.parametrize("oversample", [False, True, "keep"])
def test_runs_of_several_sizes_are_one_batch(oversample: bool | str) -> None:
    made = encoder(Hungry(1000, RuntimeError()), oversample=oversample)
    runs = [torch.randint(0, 256, (n, 40, w, 3), dtype=torch.uint8) for n, w in ((2, 50), (1, 60))]
    if not oversample:
        runs = [frames(2), frames(1)]
    together = made(runs)
    assert together.shape == (3, *made.row_shape)
    torch.testing.assert_close(together, torch.cat([made([run]) for run in runs]))
