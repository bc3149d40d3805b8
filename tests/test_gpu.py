"""Extraction on a GPU gives the features of the CPU, and loses no batch; needs a GPU that CUDA drives."""

import copy
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from tests.conftest import ROOT, TOYDATA
from tests.feature_files import cosine
from tests.inference.test_batchnorm_folding import random_norms
from vfx import bench, extract
from vfx.benchmark.results import Result
from vfx.extraction.batching import Batch
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.precision import float32_by_tf32
from vfx.features.feature_file import FeatureFile
from vfx.inference.encoder import Encoder
from vfx.inference.executors import Pending
from vfx.inference.fused_convolutions import FusedConv
from vfx.models import Network, Weights
from vfx.models.transforms import Transform

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
# The largest difference to the CPU's features, as a part of the largest value; measured on an H100 with torch
# 2.11: at most 1.1e-6, 3.6e-3, 8.4e-3 and 9.5e-2.
EXACT, TF32, FP16, BF16 = 1e-5, 1e-2, 2e-2, 2e-1
MEMORY = 1 << 30  # that a network may use in a test, bytes


def run(folder: Path, *overrides: str, trainer: str = "gpu") -> FeatureFile:
    return FeatureFile(extract.main(f"collection={TOYDATA}", f"output_dir={folder}", f"trainer={trainer}", *overrides))


def difference(file: FeatureFile, wanted: FeatureFile) -> float:
    """The largest of all values, as a part of the largest value; the rest of the files must be equal."""
    assert list(file.ids) == list(wanted.ids)
    assert file.failures == wanted.failures
    np.testing.assert_array_equal(file.seconds, wanted.seconds)
    a, b = file.features[:], wanted.features[:]
    found = float(np.abs(a - b).max() / np.abs(b).max())
    least = cosine(a, b).min()
    print(f"largest difference {found:.2g}, least cosine {least:.7f}")
    assert least > 0.98  # measured 0.992 in bf16
    return found


@pytest.fixture
def little_memory() -> Iterator[None]:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(MEMORY / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_features_are_those_of_the_cpu(tmp_path: Path, toy_features: FeatureFile) -> None:
    assert difference(run(tmp_path), toy_features) < EXACT
    assert torch.backends.cudnn.allow_tf32  # as it was before


def test_tf32_is_near_and_said(tmp_path: Path, toy_features: FeatureFile) -> None:
    file = run(tmp_path, "tf32=true")
    assert EXACT < difference(file, toy_features) < TF32
    assert file.provenance["recipe"]["tf32"] is True


@pytest.mark.parametrize(("precision", "bound"), [("bf16-mixed", BF16), ("16-mixed", FP16), ("bf16-true", BF16)])
def test_lower_precisions_are_near(precision: str, bound: float, tmp_path: Path, toy_features: FeatureFile) -> None:
    assert EXACT < difference(run(tmp_path, f"trainer.precision={precision}"), toy_features) < bound


def test_ten_crops_are_those_of_the_cpu(tmp_path: Path) -> None:
    """Frames of several sizes, whole, from which the GPU makes the crops."""
    for oversample in ("true", "keep"):
        options = [f"oversample={oversample}", "sampler=uniform", "sampler.num_frames=2"]
        files = (run(tmp_path / trainer, *options, trainer=trainer) for trainer in ("gpu", "cpu"))
        assert difference(*files) < EXACT


@pytest.mark.parametrize(
    "make",
    [torchvision.models.resnet50, torchvision.models.resnext50_32x4d, partial(timm.create_model, "resnest14d")],
    ids=["resnet50", "resnext50_32x4d", "resnest14d"],
)
@pytest.mark.parametrize(
    ("precision", "tf32", "bound"),
    [("32-true", False, EXACT), ("32-true", True, TF32), ("bf16-mixed", False, BF16), ("16-mixed", False, FP16)],
)
def test_what_is_fused_gives_the_same_features(
    make: Callable[[], nn.Module], precision: str, tf32: bool, bound: float
) -> None:
    body = random_norms(make())
    body.fc = nn.Identity()
    transform = Transform(resize=256, crop=224, interpolation="bilinear", mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    network = Network("n", "avgpool", body, None, 2048, transform, Weights("made here", "none"))
    plain, made = Encoder(copy.deepcopy(network)).cuda(), Encoder(network)
    made.optimize("cuda", precision=precision, threads=1, tf32=tf32)
    made.cuda()
    lower = {"bf": torch.bfloat16, "16": torch.float16}.get(precision[:2])
    images = torch.randint(0, 256, (8, 224, 224, 3), dtype=torch.uint8, device="cuda")
    with torch.inference_mode():
        with float32_by_tf32(False):
            wanted = plain([images])
        with float32_by_tf32(tf32), torch.autocast("cuda", lower, enabled=lower is not None):
            found = made([images])
    fused = [module for module in made.modules() if isinstance(module, FusedConv)]
    assert len(fused) > 16
    assert all(module.use_kernel for module in fused)
    off = float((found - wanted).abs().max() / wanted.abs().max())
    print(f"{precision}, tf32 {tf32}: off by {off:.2g}")
    assert off < bound


def test_several_networks_of_a_transform_each(tmp_path: Path) -> None:
    """resnest50 has another transform than the other."""
    models = [
        "model=[resnest50,resnext101_32x8d]",
        *(f"models.{m}.weights=random" for m in ("resnest50", "resnext101_32x8d")),
    ]
    for_all = [f"collection={TOYDATA}", "sampler=uniform", "sampler.num_frames=1", *models]
    on_gpu, on_cpu = (extract.main(*for_all, f"output_dir={tmp_path / t}", f"trainer={t}") for t in ("gpu", "cpu"))
    for made, wanted in zip(on_gpu, on_cpu, strict=True):
        assert difference(FeatureFile(made), FeatureFile(wanted)) < EXACT


def test_a_compiled_network_gives_the_same_features(tmp_path: Path, toy_features: FeatureFile) -> None:
    assert difference(run(tmp_path, "model.compile=true"), toy_features) < EXACT


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("oversample", ["false", "true"])
def test_the_loop_waits_for_nothing(oversample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches after the first are submitted without waiting for the GPU: torch raises where it would."""
    submit, batches = Extractor.predict_step, 0

    def watched(self: Extractor, batch: Batch, batch_idx: int) -> Pending:
        nonlocal batches
        batches += 1
        torch.cuda.set_sync_debug_mode("error" if batch_idx else "default")
        try:
            return submit(self, batch, batch_idx)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Extractor, "predict_step", watched)
    run(tmp_path, "batch_size=16", f"oversample={oversample}")
    assert batches > 2
    with pytest.raises(RuntimeError, match="synchroniz"):
        torch.cuda.set_sync_debug_mode("error")
        torch.tensor([1.0], device="cuda")
    torch.cuda.set_sync_debug_mode("default")


def test_a_batch_that_does_not_fit_is_halved_and_not_lost(
    tmp_path: Path, little_memory: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vfx"), "propagate", True)
    large = run(tmp_path / "large", "batch_size=698", "sampler=all")
    assert "out of memory with" in caplog.text
    assert difference(large, run(tmp_path / "small", "batch_size=16", "sampler=all")) < EXACT


def test_a_rank_that_talks_by_nccl(tmp_path: Path, toy_features: FeatureFile) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", "-m", "vfx.extract"]
    options = [f"collection={TOYDATA}", f"output_dir={tmp_path}", "trainer=multinode", "trainer.accelerator=gpu"]
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([*launch, *options], capture_output=True, text=True, cwd=ROOT, env=found, timeout=200)
    assert done.returncode == 0, done.stderr
    assert difference(FeatureFile(Path(done.stdout.splitlines()[-1])), toy_features) < EXACT


def test_the_bench_measures_a_gpu(tmp_path: Path) -> None:
    options = ["stages=[network,ready]", "rounds=1", "trainer=gpu", "oversample=true"]
    result = bench.main(f"collection={TOYDATA}", f"folder={tmp_path}", *options)
    assert isinstance(result, Result)
    assert [(t.name, t.variant) for t in result.timings if t.name == "ready"] == [
        ("ready", "32-true, channels_last"),
        ("ready", "bf16-mixed, channels_last"),
    ]
    assert len(result.utilizations) == 2
    assert all(0 < found.of_peak < 1 for found in result.utilizations)
    assert result.machine["device"] == torch.cuda.get_device_name(0)
