"""Shows that two states of the code give the same outputs: runs one list of commands with each, and compares the files.

    python bench/same_outputs.py run FOLDER                 # in each checkout, with a folder of its own
    python bench/same_outputs.py compare BEFORE AFTER

Reads the toy collection with one decoding worker, so that batches are composed alike and rows must be equal bit for
bit; several ranks compose them otherwise, and may differ by up to 2e-5. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).parent.parent
TOLERANCE = 2e-5  # between rows whose batches were composed otherwise
COLUMNS = ("ids", "index", "seconds", "videos/ids", "videos/offsets", "failures")
LITE0 = "efficientnet_lite0,avgpool"
SHOTS, QUERY = "shots.tsv", "query.jpg"
# Name -> the commands of vfx that make a folder of outputs, each without what they share.
ONE = "dataset.num_workers=1"
EXTRACTIONS = {
    "default": [["extract", ONE]],
    "frame": [["extract", "dataset=frame", ONE]],
    "oversample": [["extract", "oversample=true", ONE]],
    "oversample_keep": [["extract", "oversample=keep", ONE]],
    "uniform": [["extract", "sampler=uniform", ONE]],
    "fps": [["extract", "sampler=fps", "sampler.fps=3", ONE]],
    "lineage": [["extract", "sampler=lineage", ONE]],
    "decord": [["extract", "dataset.decoder=decord", ONE]],
    "two_models": [["extract", "model=[efficientnet_lite0,resnet50]", "model.weights=random", ONE]],
    "bf16": [["extract", "trainer.precision=bf16-mixed", ONE]],
    "main_process": [["extract", "dataset.num_workers=0"]],
    "ranks": [["extract", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", ONE]],
    "shards": [["extract", f"shard={n}", "num_shards=3", ONE] for n in (1, 2, 3)],
    "sweep": [["extract", "-m", "sampler=uniform", "sampler.num_frames=2", "writer.dtype=float16", ONE]],
    "segments": [["extract", "sampler=segments", f"sampler.file={SHOTS}", ONE]],
}
FEATURE = f"feature={LITE0}"
DERIVED = [
    ["pool", FEATURE],
    ["pool", FEATURE, "pooling=max"],
    ["pool", FEATURE, "pooling=gauss"],
    ["pool", FEATURE, f"segments={SHOTS}"],
    ["concat", f"features={LITE0}+{LITE0}"],
    *(["export", FEATURE, f"format={name}", f"destination={name}.export"] for name in ("bigfile", "npy", "npz", "txt")),
    ["export", f"feature=mean_{LITE0}", "format=parquet", "destination=parquet.export"],
    ["search", FEATURE, "video=cat", "seconds=1", "hits=hits.tsv"],
    ["search", FEATURE, f"image={QUERY}", "hits=image_hits.tsv", "output=sheet.png"],
    ["report", FEATURE],
    ["verify", FEATURE],
    ["compare", f"a=outputs/toydata/{LITE0}", f"b=outputs/toydata/{LITE0}"],
]


def run(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, commands in {**EXTRACTIONS, "derived": [["extract", ONE], *DERIVED]}.items():
        work = folder / name
        work.mkdir()
        shutil.copytree(ROOT / "toydata", work / "toydata")
        add_damaged(work / "toydata/VideoData")
        shutil.copy(next((ROOT / "toydata/ImageData/cat").glob("*.jpg")), work / QUERY)
        (work / SHOTS).write_text("cat_a\tcat\t0\t1.5\ncat_b\tcat\t1.5\t4\nlaunch_a\tlaunch\t0.2\t2\n")
        for command in commands:
            verb, *arguments = command
            if not any(argument.startswith(("a=", "file=")) for argument in arguments):
                arguments.append("collection=toydata")
            if verb == "extract" and "trainer=ddp" not in arguments:
                arguments.append("trainer=cpu")
            print(f"{name}: {verb} {' '.join(arguments)}", flush=True)
            done = subprocess.run(
                [sys.executable, "-m", f"vfx.{verb}", *arguments],
                cwd=work,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
            )
            if done.returncode:  # as bf16 where the CPU has no instructions for it: both states must say so
                said = done.stderr.strip().splitlines()[-1]
                print(f"    refused: {said}", flush=True)
                (work / "refused.txt").write_text(said)


def add_damaged(videos: Path) -> None:
    """Add a video that cannot be opened, and one that ends early: both are failures, the second has rows too."""
    (videos / "unreadable.mp4").write_bytes((videos / "cat.mp4").read_bytes()[:3000])
    whole = (videos / "coffee.webm").read_bytes()
    (videos / "cut.webm").write_bytes(whole[: len(whole) * 2 // 3])


def compare(before: Path, after: Path) -> int:
    """Print a line for each output, and return how many differ."""
    wrong = 0
    for path in sorted(before.rglob("*")):
        relative = path.relative_to(before)
        if not path.is_file() or "toydata" in relative.parts[1:2] or "multirun" in relative.parts:
            continue
        if path.suffix in (".log", ".html", ".yaml") or path.name in ("throughput.tsv", SHOTS, QUERY):
            continue  # they hold the time of the run or the names of targets, or are not outputs
        other = after / relative
        if not other.exists():
            said = "MISSING"
        elif path.suffix == ".h5":
            said = differences(path, other)
        elif path.suffix == ".parquet" or "parquet.export" in path.name:
            said = "" if parquet_rows(path) == parquet_rows(other) else "DIFFERS"
        else:
            said = "" if path.read_bytes() == other.read_bytes() else "DIFFERS"
        wrong += bool(said) and not said.startswith("within")
        print(f"{said or 'equal':30} {relative}")
    print(f"{wrong} outputs differ")
    return wrong


def parquet_rows(path: Path) -> list[dict[str, object]]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_table(path).to_pylist())


def differences(before: Path, after: Path) -> str:
    """In what two feature files differ; "" where in nothing, not even a bit."""
    with h5py.File(before) as a, h5py.File(after) as b:
        for name in COLUMNS:
            if (name in a) != (name in b):
                return f"{name} is in one alone"
            if name in a and not np.array_equal(*map(comparable, (a[name][()], b[name][()]))):
                return f"{name} DIFFER"
        x, y = a["features"][()], b["features"][()]
        if x.shape != y.shape or x.dtype != y.dtype:
            return "features DIFFER in shape or type"
        if x.tobytes() == y.tobytes():
            return ""
        largest = float(np.abs(x.astype(np.float64) - y).max())
        return f"{'within' if largest <= TOLERANCE else 'features DIFFER by'} {largest:.1e}"


def comparable(values: np.ndarray) -> np.ndarray:
    """Bits of floats, so that NaN equals NaN; everything else as it is."""
    return values.view(np.int64) if values.dtype == np.float64 else values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    running = kinds.add_parser("run")
    running.add_argument("folder", type=Path)
    comparing = kinds.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.kind == "run":
        run(given.folder.absolute())
        return 0
    return int(compare(given.before, given.after) > 0)


if __name__ == "__main__":
    sys.exit(main())
