"""What a command imports before it works, which decides how soon it does; and that libraries stay whole by that."""

import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOYDATA, link_clips
from vfx import APPS
from vfx.extraction import WORKER_PRELOAD
from vfx.features.feature_file import FeatureFile
from vfx.system import fast_imports, worker_pool

TORCH = {"torch", "pytorch_lightning", "torchvision", "timm"}
# What these, or others, would take along.
BESIDES = {
    "torch._dynamo", "torch._inductor", "torchmetrics", "sympy", "triton", "scipy", "pandas", "sklearn", "matplotlib",
    "skimage", "transformers", "pyarrow", "decord", "torchcodec", "openvino",
}  # fmt: skip
# Runs an app as `python -m` does, and tells at the end what was imported.
AS_APP = """
import atexit, json, runpy, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
# Runs a command that has no standard output.
CLOSED = "import os, sys; os.close(1); os.execv(sys.argv[1], sys.argv[1:])"
# What others may have left in a process for its end.
AT_THE_END = """
import atexit, ctypes, sys, threading
ctypes.CDLL(None).puts(b"by a library in C")
atexit.register(lambda: print("registered", file=sys.stderr))
main = threading.main_thread()
threading.Thread(target=lambda: (main.join(), print("worked to its end", file=sys.stderr))).start()
"""


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # several would wait for each other on a busy machine
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=one_thread, capture_output=True, text=True, check=True
    )


def imported(app: str, *arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    return set(json.loads(python("-c", AS_APP, f"vfx.{app}", *arguments).stderr.splitlines()[-1]))


def alone(function: Callable[[], None]) -> None:
    """Call a function of this module in a process that has imported nothing yet."""
    python("-c", f"from tests import test_startup; test_startup.{function.__name__}()")


@pytest.fixture
def one_video(tmp_path: Path) -> Path:
    return link_clips(tmp_path / "one", "cat.mp4")


@pytest.mark.dear
@pytest.mark.parametrize("app", APPS)
def test_help_imports_nothing_heavy(app: str) -> None:
    modules = imported(app, "--help")
    assert "vfx.cli.command" in modules
    assert not modules & (TORCH | BESIDES)


@pytest.mark.dear
def test_derived_apps_do_without_torch(toy_features: FeatureFile, tmp_path: Path) -> None:
    name = toy_features.provenance["recipe"]["model"]["name"] + ",avgpool"
    outputs = tmp_path / "outputs"
    shutil.copytree(toy_features.path.parent, outputs / "toydata" / name)
    given = [f"collection={TOYDATA}", f"output_dir={outputs}"]
    feature = f"feature={name}"
    runs = [
        ("pool", *given, feature),
        ("pool", *given, feature, "pooling=max"),
        ("concat", *given, f"features=mean_{name}+max_{name}"),
        ("export", *given, feature, "format=bigfile", f"destination={tmp_path / 'bigfile'}"),
        ("import_bigfile", *given, f"source={tmp_path / 'bigfile'}", "feature=again"),
        ("compare", f"a={outputs / 'toydata' / name}", f"b={outputs / 'toydata/again'}"),
        ("verify", *given, feature),
        ("report", *given, feature, "pictures=1"),
    ]
    for app, *arguments in runs:
        modules = imported(app, *arguments)
        assert "h5py" in modules, app
        assert not modules & (TORCH | BESIDES), app


def test_frames_are_cut_without_torch(one_video: Path) -> None:
    modules = imported("frames", f"collection={one_video}")
    assert list((one_video / "ImageData").rglob("*.jpg"))
    assert not modules & (TORCH | BESIDES)


@pytest.mark.dear
@pytest.mark.parametrize(
    "model", [[], ["model=torchvision", "model.name=resnet18", "model.weights=random"]], ids=["default", "torchvision"]
)
def test_an_extraction_imports_what_it_runs_and_no_more(model: list[str], one_video: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    modules = imported("extract", f"collection={one_video}", f"output_dir={outputs}", "trainer=cpu", *model)
    assert list(outputs.rglob("features.h5"))
    assert modules >= {"torch", "pytorch_lightning"}
    assert ("timm" in modules) == (not model)
    assert not modules & BESIDES


@pytest.mark.dear
def test_a_probe_builds_the_network_without_lightning_and_compilers(one_video: Path) -> None:
    modules = imported("probe", f"collection={one_video}")
    assert "timm" in modules
    assert not modules & (BESIDES | {"pytorch_lightning"})


def lightning_knows_metrics() -> None:
    lightning = fast_imports.load("pytorch_lightning")
    assert not sys.modules.keys() & BESIDES
    import torch
    import torchmetrics
    from torchmetrics.classification import MulticlassAccuracy

    assert torchmetrics.__version__ == torchmetrics.__about__.__version__
    assert torchmetrics.classification.MulticlassAccuracy is MulticlassAccuracy
    assert torchmetrics.utilities.data.dim_zero_sum(torch.ones(3)) == 3
    assert lightning._graveyard._torchmetrics.torchmetrics is torchmetrics
    assert issubclass(MulticlassAccuracy, lightning.core.module.Metric)
    assert torchmetrics.Metric is torchmetrics.metric.Metric is lightning.core.module.Metric

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=3)

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            self.accuracy(batch, torch.tensor([0, 1, 2, 2]))
            self.log("accuracy", self.accuracy)

    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    batches = torch.tensor([[0, 1, 2, 2], [0, 1, 0, 0]])
    (logged,) = trainer.validate(Module(), torch.utils.data.DataLoader(batches, batch_size=None), verbose=False)
    assert logged == {"accuracy": 0.75}


def metrics_come_by_their_parts() -> None:
    lightning = fast_imports.load("pytorch_lightning")
    import torchmetrics.text.wer

    rate = torchmetrics.text.wer.WordErrorRate
    assert torchmetrics.text.WordErrorRate is rate
    assert issubclass(rate, lightning.core.module.Metric)
    assert rate()(["a b"], ["a c"]) == 0.5


def metrics_are_plotted() -> None:
    fast_imports.load("pytorch_lightning")
    import torch
    from torchmetrics import Accuracy, MetricCollection

    accuracy = Accuracy(task="multiclass", num_classes=3)
    accuracy.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    figure, axes = accuracy.plot()
    assert axes in figure.axes
    assert next(list(line.get_ydata()) for line in axes.lines) == [0.5]
    MetricCollection({"accuracy": accuracy}).plot()


def compilers_are_whole() -> None:
    lightning, torchvision = fast_imports.load("pytorch_lightning"), fast_imports.load("torchvision")
    fast_imports.load("timm")
    assert not sys.modules.keys() & BESIDES
    import torch
    from pytorch_lightning.utilities.compile import from_compiled, to_uncompiled
    from torch.utils.flop_counter import FlopCounterMode

    class Module(lightning.LightningModule):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

        def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return self(batch)

    plain = Module()
    try:
        from_compiled(plain)
        raise AssertionError("taken for a compiled one")
    except ValueError as error:
        assert "required to be a `OptimizedModule`" in str(error)
    compiled = torch.compile(plain, backend="eager")
    assert isinstance(compiled, sys.modules["torch._dynamo"].OptimizedModule)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    batches = torch.utils.data.DataLoader(torch.tensor([1, 2]), batch_size=None)
    assert trainer.predict(compiled, batches) == [2, 3]
    assert to_uncompiled(compiled) is plain

    supported = sys.modules["torch._dynamo.utils"].is_compile_supported
    assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") == supported("cpu")
    boxes = [torch.tensor([[0.0, 0.0, 2.0, 2.0]])]
    assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, output_size=1).item() == 1
    with FlopCounterMode(display=False) as counter:
        torch.ones(3, 5) @ torch.ones(5, 7)
    assert counter.get_total_flops() == 2 * 3 * 5 * 7


@pytest.mark.dear
@pytest.mark.parametrize(
    "check", [lightning_knows_metrics, metrics_come_by_their_parts, metrics_are_plotted, compilers_are_whole]
)
def test_what_was_left_out_is_whole_when_it_is_asked_for(check: Callable[[], None]) -> None:
    alone(check)


@pytest.mark.dear
@pytest.mark.parametrize(
    "wants", ["from torch._dynamo import explain as got", "from torch._dynamo.config import recompile_limit as got"]
)
def test_a_library_that_wants_more_gets_it(wants: str, tmp_path: Path) -> None:
    (tmp_path / "wanting.py").write_text(f"from torch._dynamo import disable\n{wants}\n")
    program = f"""
import sys
sys.path.append({str(tmp_path)!r})
from vfx.system import fast_imports
got = fast_imports.load("wanting").got
import torch
assert got is {wants.split()[1]}.{wants.split()[3]}
assert "torch._dynamo.eval_frame" in sys.modules
"""
    python("-c", program)


def test_what_is_not_there_is_not_found() -> None:
    gc.unfreeze()  # what Python 3.12 begins with, and what other tests left
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        fast_imports.load("no_such_library")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def frozen(task: int) -> Iterator[int]:
    yield gc.get_freeze_count()


def workers_share_what_their_server_imported() -> None:
    ((_, count),) = worker_pool.run([0], frozen, processes=1, patience=60, memory=1 << 30, preload=WORKER_PRELOAD)
    assert isinstance(count, int)
    assert count > 100_000


@pytest.mark.dear
def test_a_collection_in_a_worker_does_not_touch_what_was_imported() -> None:
    alone(workers_share_what_their_server_imported)


@pytest.mark.dear
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_ctrl_c_during_imports_says_one_line(one_video: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vfx.extract", f"collection={one_video}", f"output_dir={tmp_path / 'outputs'}"]
    run = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    maps = Path(f"/proc/{run.pid}/maps")
    while "libtorch_cpu" not in maps.read_text():
        assert run.poll() is None
        time.sleep(0.001)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does it, to the server of the workers too
    out, error = run.communicate(timeout=120)
    assert run.returncode == 130
    assert out == ""
    assert error.splitlines() == [
        "error: ended by Ctrl-C; what was finished is kept: the same command goes on from there"
    ]
    assert not (tmp_path / "outputs").exists()


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs /proc")
@pytest.mark.parametrize("interrupted", [False, True])
def test_an_end_is_not_held_up_by_what_was_begun(interrupted: bool) -> None:
    """The server that workers would come from imports for seconds, and has this process's standard error."""
    command = [sys.executable, "-m", "vfx.extract", f"collection={TOYDATA}", "trainer.accelerator=none"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not any(b"forkserver" in Path(f"/proc/{c}/cmdline").read_bytes() for c in children(run.pid)):
            assert run.poll() is None
            time.sleep(0.001)
        if interrupted:
            run.send_signal(signal.SIGINT)
        assert run.wait(60) == (130 if interrupted else 1)
        begun = time.monotonic()
        said = run.stderr.read()
        assert time.monotonic() - begun < 1
    assert said.startswith("error: ended by Ctrl-C" if interrupted else "error: trainer: ")


def test_workers_have_the_environment_that_hydra_sets(one_video: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import os, sys\n"
        f"if sys.argv[0] == '-c': open({str(tmp_path / 'told')!r}, 'a').write(os.environ.get('ASKED', 'none') + ' ')\n"
    )
    env = os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}"}
    command = ["vfx.extract", f"collection={one_video}", f"output_dir={tmp_path / 'outputs'}", "trainer=cpu"]
    command += ["+hydra.job.env_set.ASKED=yes", "dataset.num_workers=1"]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=env, check=True)
    assert list((tmp_path / "outputs").rglob("features.h5"))
    assert (tmp_path / "told").read_text().split()[-1] == "yes"


@pytest.mark.slow
def test_commands_begin_soon(one_video: Path, tmp_path: Path) -> None:
    """By seconds of processor, which other programs on the machine change least."""

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python("-m", *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    extract = ["vfx.extract", f"collection={one_video}", f"output_dir={tmp_path / 'outputs'}", "trainer=cpu"]
    assert min(seconds("vfx.extract", "--help") for _ in range(3)) < 1.5
    assert min(seconds(*extract, "sampler=uniform", "sampler.num_frames=1", "overwrite=true") for _ in range(3)) < 6


@pytest.mark.parametrize(("key", "code"), [("--help", 0), ("no_such_key=1", 1)])
def test_a_command_leaves_others_their_end(key: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_THE_END)
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    env.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-m", "vfx.probe", key]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.splitlines()[-2:] == ["worked to its end", "registered"]
    assert ("vfx.probe" in done.stdout) == (code == 0)
    assert "by a library in C" in done.stdout


def test_a_command_without_standard_output_says_its_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, sys.executable, "-m", "vfx.probe", "no_such_key=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: vfx.probe has no key no_such_key")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_printed_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vfx.probe", "--help"],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 120
    assert "No space left on device" in done.stderr
