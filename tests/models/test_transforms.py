"""Transforms: equal to PIL and torchvision on the same frames."""

from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from vfx.errors import VideoError
from vfx.models.transforms import Transform, center_crop, normalize, resize, ten_crop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LANDSCAPE = data.chelsea()  # 300 x 451
PORTRAIT = np.ascontiguousarray(np.rot90(data.astronaut()[:, 100:400]))[:, :280]
TINY = LANDSCAPE[100:190, 100:221]


def frames(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None]


@pytest.mark.parametrize("image", [LANDSCAPE, PORTRAIT, TINY], ids=["landscape", "portrait", "tiny"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [256, (200, 200)])
def test_resize_is_pils_to_a_level_or_two(
    image: np.ndarray, interpolation: Literal["bilinear", "bicubic"], size: int | tuple[int, int]
) -> None:
    transform = Transform(size, 200, interpolation, MEAN, STD)
    reference = transforms.Resize(size, InterpolationMode(interpolation))(Image.fromarray(image))
    ours = resize(frames(image), transform)[0].numpy()
    assert ours.shape == np.asarray(reference).shape
    difference = np.abs(ours.astype(int) - np.asarray(reference))
    assert difference.max() <= {"bilinear": 1, "bicubic": 2}[interpolation]
    assert difference.mean() < 0.03


@pytest.mark.parametrize("size", [(256, 341), (257, 341), (341, 256), (224, 224), (225, 224)])
def test_center_crop_is_torchvisions(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    transform = Transform(256, 224, "bilinear", MEAN, STD)
    reference = transforms.CenterCrop(224)(Image.fromarray(image))
    np.testing.assert_array_equal(center_crop(frames(image), transform)[0], np.asarray(reference))


@pytest.mark.parametrize("size", [(256, 341), (257, 341), (341, 255), (224, 224)])
def test_ten_crop_is_torchvisions_in_its_order(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    transform = Transform(256, 224, "bilinear", MEAN, STD)
    reference = np.stack([np.asarray(c) for c in transforms.TenCrop(224)(Image.fromarray(image))])
    np.testing.assert_array_equal(ten_crop(frames(image), transform)[0], reference)


def test_normalize_is_torchvisions() -> None:
    transform = Transform(256, 300, "bilinear", MEAN, STD)
    pipeline = transforms.Compose([transforms.CenterCrop(300), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    ours = normalize(center_crop(frames(LANDSCAPE), transform), transform)
    torch.testing.assert_close(ours[0], pipeline(Image.fromarray(LANDSCAPE)), atol=1e-5, rtol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_shape_that_would_fill_memory_is_refused() -> None:
    transform = Transform(256, 224, "bilinear", MEAN, STD)
    with pytest.raises(VideoError, match=r"a frame of 8000x2 is too long to be a picture: resized, 1024000x256"):
        resize(torch.zeros(1, 2, 8000, 3, dtype=torch.uint8), transform)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_normalize_is_in_float32_whatever_torch_makes_by_default(device: str) -> None:
    """Lightning has bf16 made by default for bf16-true, and what normalize keeps would stay so."""
    before = torch.get_default_dtype()
    transform = Transform(256, 200, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))  # of no other test
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert normalize(frames(LANDSCAPE).to(device), transform).dtype is torch.float32
    finally:
        torch.set_default_dtype(before)
    assert normalize(frames(LANDSCAPE).to(device), transform).dtype is torch.float32
