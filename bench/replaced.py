"""Features in the way of the tool that vfx replaces, written anew from docs/lineage.md, and what each step takes.

    python bench/replaced.py collection=toydata [model=resnet50] [oversample=true] [output_dir=DIR]

Takes the keys of vfx.extract, of which collection, model, oversample and output_dir count, and the very network and
weights that it would take; `python -m vfx.bench beside=bench/replaced.py` runs the two in turns. Steps: OpenCV writes
every half second's frame as JPEG; PIL and torchvision prepare them, in two processes, for the network in fp32 as it
comes, one frame at a time; rows go to text, from text to a BigFile, and from that their means over each video to
another. All in one process here, which imports torch once; there each step was a process. The last line is JSON.
Needs OpenCV: pip install opencv-python-headless
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from torchvision import transforms

from vfx.cli import command
from vfx.cli.config import build
from vfx.collection.collection import find_collection
from vfx.errors import UsageError
from vfx.models import Network
from vfx.models.transforms import Transform

try:
    import cv2
except ImportError:
    sys.exit("bench/replaced.py needs OpenCV: pip install opencv-python-headless")

BATCH, WORKERS = 1, 2  # of its DataLoader


def cut(videos: list[tuple[str, str]], folder: Path) -> list[tuple[str, str]]:
    """Write frames i of each video where i % fps is 0 or fps // 2; returns their ids and paths, in order."""
    frames = []
    for id, path in videos:
        (folder / id).mkdir(parents=True)
        video = cv2.VideoCapture(path)
        fps = int(video.get(cv2.CAP_PROP_FPS))
        there, pixels = video.read()
        i = 0
        while there:
            if i % fps in (0, fps // 2):
                frame = folder / id / f"{id}_{i}.jpg"
                cv2.imwrite(str(frame), pixels)
                frames.append((frame.stem, str(frame)))
            i += 1
            there, pixels = video.read()
    return frames


class Frames(torch.utils.data.Dataset):
    """Frames (id, path) -> (id, (3,h,w) or (10,3,h,w) float32)."""

    def __init__(self, frames: list[tuple[str, str]], transform: Transform, *, oversample: bool) -> None:
        mode = transforms.InterpolationMode(transform.interpolation)
        finish = transforms.Compose([transforms.ToTensor(), transforms.Normalize(transform.mean, transform.std)])
        crops: list[Callable] = [transforms.CenterCrop(transform.crop), finish]
        if oversample:
            crops = [
                transforms.TenCrop(transform.crop),
                transforms.Lambda(lambda pictures: torch.stack([finish(picture) for picture in pictures])),
            ]
        self._prepare = transforms.Compose([transforms.Resize(transform.resize, mode), *crops])
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, n: int) -> tuple[str, torch.Tensor]:
        id, path = self._frames[n]
        return id, self._prepare(Image.open(path))


def run_network(frames: list[tuple[str, str]], network: Network, text: Path, *, oversample: bool) -> None:
    """Write a line `<id> v1 v2 ...` for each frame."""
    body = network.body
    loader = torch.utils.data.DataLoader(
        Frames(frames, network.transform, oversample=oversample), batch_size=BATCH, shuffle=False, num_workers=WORKERS
    )
    with text.open("w") as out, torch.no_grad():
        for ids, images in loader:
            features = body(images.flatten(0, 1) if oversample else images)
            features = features.view(len(ids), -1, network.dim).mean(1).numpy()
            for id, row in zip(ids, features, strict=True):
                out.write(f"{id} {' '.join([f'{value:g}' for value in row])}\n")


def to_bigfile(text: Path, folder: Path) -> None:
    """The rows of a text as a BigFile, the first of each id, without those that hold NaN."""
    ids: dict[str, None] = {}
    dims = 0
    folder.mkdir()
    with (folder / "feature.bin").open("wb") as out, text.open() as lines:
        for line in lines:
            id, *values = line.split()
            row = np.array(list(map(float, values)), np.float32)
            if id not in ids and not np.isnan(row).any():
                row.tofile(out)
                ids[id] = None
                dims = len(row)
    finish(folder, list(ids), dims)


def finish(folder: Path, ids: list[str], dims: int) -> None:
    (folder / "id.txt").write_text(" ".join(ids))
    (folder / "shape.txt").write_text(f"{len(ids)} {dims}")


def mean(source: Path, folder: Path) -> NDArray[np.float32]:
    """The mean of each video's rows of a BigFile, in the order of their first frames, as a BigFile."""
    ids = (source / "id.txt").read_text().split(" ")
    _, dims = map(int, (source / "shape.txt").read_text().split())
    rows = np.fromfile(source / "feature.bin", "<f4").reshape(-1, dims)
    videos: dict[str, list[int]] = {}
    for n, id in enumerate(ids):
        videos.setdefault(id.rsplit("_", 1)[0], []).append(n)
    means = np.stack([rows[numbers].astype(np.float64).mean(0).astype(np.float32) for numbers in videos.values()])
    folder.mkdir()
    means.tofile(folder / "feature.bin")
    finish(folder, list(videos), dims)
    return means


def replaced(config: DictConfig) -> str:
    """What was done, as JSON: frames, videos, and the seconds of each step."""
    if str(config.oversample) == "keep":
        raise UsageError("oversample (keep): the replaced tool only averages")
    collection = find_collection(config.collection, config.rootpath)
    folder = Path(config.output_dir) / f"{collection.name}.replaced"
    folder.mkdir(parents=True)
    seconds: dict[str, float] = {}

    def timed(step: str, work: Callable, *arguments: object, **options: object) -> object:
        start = time.perf_counter()
        made = work(*arguments, **options)
        seconds[step] = time.perf_counter() - start
        return made

    videos = [(source.id, source.path) for source in collection.videos()]
    frames = timed("frames", cut, videos, folder / "ImageData")
    network = timed("loading", build, config.model, leave_out=("compile",))
    timed("network", run_network, frames, network, folder / "id.feature.txt", oversample=bool(config.oversample))
    timed("bigfile", to_bigfile, folder / "id.feature.txt", folder / "frames")
    means = timed("mean", mean, folder / "frames", folder / "videos")
    return json.dumps({"frames": len(frames), "videos": len(means), "seconds": seconds})


if __name__ == "__main__":
    command.run(replaced, "extract")
