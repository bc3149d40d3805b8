"""Extraction as its user runs it: the real app, a real Trainer, real files."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from torchvision import transforms
from torchvision.models._meta import _IMAGENET_CATEGORIES

from tests.commands import run_python, run_verb
from tests.conftest import ROOT, TOYDATA, link_clips
from tests.feature_files import BATCH_COMPOSITION, cosine, same
from vfx import extract, frames
from vfx.decoding import VideoReader
from vfx.errors import CollectionError, ExtractionError, OutputError, SamplerError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.inference.encoder import Encoder
from vfx.models import efficientnet_lite
from vfx.sampling.samplers import half_second

Matrix = NDArray[np.float32]
BF16 = any("bf16" in name and there for name, there in torch.cpu.get_capabilities().items())


def run(tmp_path: Path, *overrides: str, collection: Path = TOYDATA) -> FeatureFile:
    return FeatureFile(extract.main(f"collection={collection}", f"output_dir={tmp_path}", "trainer=cpu", *overrides))


def test_the_default_run_has_every_video_and_its_times(toy_features: FeatureFile) -> None:
    file = toy_features
    assert set(file.videos) == {
        "astronaut", "camera", "cat", "coffee", "coffee_phone", "launch", "retina", "shuttle",
    }  # fmt: skip
    assert file.failures == []
    assert file.features.shape == (len(file.ids), 1280)
    cat = slice(*file.span("cat"))
    assert list(file.index[cat]) == [0, 13, 25, 38, 50, 63, 75, 88, 100, 113, 125]
    np.testing.assert_allclose(file.seconds[cat], file.index[cat] / 25, atol=1e-9)
    assert file.path.parent.name == "efficientnet_lite0,avgpool"
    assert not (file.path.parent / "parts").exists()


def test_what_made_it_is_written_down(toy_features: FeatureFile) -> None:
    made = toy_features.provenance
    assert made["weights"]["licence"] == "Apache-2.0"
    assert len(made["weights"]["sha256"]) == 64
    assert made["recipe"]["sampler"] == {"name": "half_second"}
    assert made["recipe"]["transform"]["crop"] == 224
    assert sum(made["decoders"].values()) == len(toy_features)
    assert {"torch", "av", "timm", "vfx"} <= made["versions"].keys()
    config = OmegaConf.load(toy_features.path.parent / "config.yaml")
    assert config == OmegaConf.create(toy_features.attributes["config"])
    assert config.collection == str(TOYDATA)
    assert "59 rows of 8 videos, 0 failures" in (toy_features.path.parent / "extract.log").read_text()


def reference(file: FeatureFile, ten_crop: bool) -> Matrix:
    """The lineage's pipeline on the same decoded frames: PIL resize, torchvision's crops, a network by itself."""
    network = efficientnet_lite.build()
    t = network.transform
    crop = (
        transforms.TenCrop(t.crop) if ten_crop else transforms.Compose([transforms.CenterCrop(t.crop), lambda i: [i]])
    )
    tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(t.mean, t.std)])
    resize = transforms.Resize(t.resize, transforms.InterpolationMode(t.interpolation))
    paths = {p.stem: p for p in (TOYDATA / "VideoData").rglob("*.*")}
    rows = []
    for video in file:
        images = [Image.fromarray(frame.pixels) for frame in VideoReader(paths[video], half_second)]
        crops = torch.stack([tensor(c) for image in images for c in crop(resize(image))])
        with torch.inference_mode():
            features = network.body(crops.contiguous(memory_format=torch.channels_last))
        rows.append(features.unflatten(0, (len(images), -1)).mean(1).numpy())
    return np.concatenate(rows)


@pytest.mark.dear
def test_features_are_those_of_the_pil_pipeline(toy_features: FeatureFile) -> None:
    assert cosine(toy_features.features[:], reference(toy_features, ten_crop=False)).min() >= 0.9999


@pytest.mark.dear
def test_oversampled_features_are_those_of_tencrop(tmp_path: Path, few: Path) -> None:
    mean = run(tmp_path, "oversample=true", collection=few)
    assert mean.feature == "efficientnet_lite0,avgpool,os"
    assert cosine(mean.features[:], reference(mean, ten_crop=True)).min() >= 0.9999
    kept = run(tmp_path, "oversample=keep", collection=few)
    assert kept.feature == "efficientnet_lite0,avgpool,oskeep"
    assert kept.features.shape == (len(mean.ids), 10, 1280)
    np.testing.assert_allclose(kept.features[:].mean(1), mean.features[:], atol=BATCH_COMPOSITION)


def test_the_toy_clips_are_seen_for_what_they_are(toy_features: FeatureFile) -> None:
    network = efficientnet_lite.build()
    assert network.head is not None

    def seen(video: str) -> str:
        with torch.inference_mode():
            scores = network.head(torch.from_numpy(toy_features[video]).mean(0))  # type: ignore[misc]
        return _IMAGENET_CATEGORIES[int(scores.argmax())]

    assert seen("cat") in {"tabby", "tiger cat", "Egyptian cat", "Persian cat", "Siamese cat"}
    assert seen("coffee") in {"espresso", "cup", "coffee mug", "eggnog"}


def test_frames_of_a_clip_are_nearer_to_each_other_than_to_other_clips(toy_features: FeatureFile) -> None:
    # one photograph each; coffee and coffee_phone show the same, launch cuts from one to another
    clips = {v: toy_features[v] for v in ["astronaut", "camera", "cat", "coffee", "retina", "shuttle"]}
    for video, rows in clips.items():
        others = np.concatenate([r for v, r in clips.items() if v != video])
        within = cosine(rows[:, None], rows[None]).min()
        assert within > cosine(rows[:, None], others[None]).max(), video


def test_frames_cut_before_give_their_own_features(tmp_path: Path, toy_features: FeatureFile) -> None:
    file = run(tmp_path, "dataset=frame")
    assert list(file.videos) == ["astronaut", "cat"]
    start, stop = file.span("cat")
    assert list(file.index[start:stop]) == [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125]
    np.testing.assert_allclose(file.seconds[start:stop], file.index[start:stop] / 25, atol=1e-9)
    assert file.provenance["recipe"]["sampler"] == {"name": "all_frames"}
    shared = [f"cat_{i}" for i in (0, 25, 50, 75, 100, 125)]
    again = cosine(np.stack([file[i] for i in shared]), np.stack([toy_features[i] for i in shared]))
    assert again.min() > 0.99  # JPEG is the difference


def test_frames_without_their_video_have_no_time(tmp_path: Path) -> None:
    folder = tmp_path / "loose" / "ImageData" / "cat"
    folder.mkdir(parents=True)
    for name in ["cat_0.jpg", "cat_25.jpg"]:
        shutil.copy(TOYDATA / "ImageData/cat" / name, folder)
    (folder / "cat_50.jpg").write_bytes(b"not a picture")
    (folder / "dog_1.jpg").write_bytes(b"")
    file = run(tmp_path, "dataset=frame", collection=tmp_path / "loose")
    assert list(file.ids) == ["cat_0", "cat_25"]
    assert np.isnan(file.seconds).all()
    assert [(f.id, f.stage) for f in file.failures] == [("cat", "decode"), ("cat", "open")]
    assert "1 of 3 frames cannot be read, the first being cat_50.jpg" in file.failures[0].error
    assert "dog_1.jpg is in the folder of video cat" in file.failures[1].error


@pytest.mark.dear
@pytest.mark.parametrize("overrides", [
    ("dataset.num_workers=0", "batch_size=3"),
    ("dataset.num_workers=3", "batch_size=32"),
])  # fmt: skip
def test_workers_and_batches_do_not_change_the_file(
    tmp_path: Path, toy_features: FeatureFile, overrides: tuple[str, ...]
) -> None:
    same(run(tmp_path, *overrides), toy_features)


@pytest.mark.dear
def test_two_ranks_write_the_file_of_one(tmp_path: Path, toy_features: FeatureFile) -> None:
    two_ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.num_workers=1"]
    done = run_verb("extract", f"collection={TOYDATA}", f"output_dir={tmp_path}", *two_ranks)
    path = Path(done.stdout.splitlines()[-1])
    assert path == tmp_path / "toydata" / "efficientnet_lite0,avgpool" / "features.h5"
    same(FeatureFile(path), toy_features)
    assert "8 videos, 59 frames" in done.stderr


@pytest.mark.dear
def test_more_ranks_than_videos(tmp_path: Path) -> None:
    one = link_clips(tmp_path / "one", "retina.mp4")
    done = run_verb(
        "extract", f"collection={one}", f"output_dir={tmp_path}",
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
    )  # fmt: skip
    assert list(FeatureFile(done.stdout.splitlines()[-1])) == ["retina"]


@pytest.mark.skipif(not BF16, reason="this processor has no bf16, where vfx refuses it")
def test_bf16_is_near_and_said(tmp_path: Path, toy_features: FeatureFile) -> None:
    one = link_clips(tmp_path / "one", "retina.mp4")  # a processor without bf16 takes seconds a frame
    file = run(tmp_path, "trainer.precision=bf16-mixed", collection=one)
    assert file.features.dtype == np.float32
    assert file.provenance["recipe"]["precision"] == "bf16-mixed"
    for video in file:
        near = cosine(file[video], toy_features[video])
        assert near.min() > 0.99
        assert not np.array_equal(file[video], toy_features[video])


@pytest.mark.dear
def test_a_network_of_another_precision_runs(tmp_path: Path, few: Path, toy_features: FeatureFile) -> None:
    file = run(tmp_path, "trainer.precision=64-true", collection=few)
    assert file.features.dtype == np.float32
    np.testing.assert_allclose(file["shuttle"], toy_features["shuttle"], atol=BATCH_COMPOSITION)


def test_float16_halves_the_file(tmp_path: Path, few: Path, toy_features: FeatureFile) -> None:
    file = run(tmp_path, "writer.dtype=float16", collection=few)
    assert file.features.dtype == np.float16
    np.testing.assert_allclose(file["shuttle"], toy_features["shuttle"], rtol=1e-3, atol=1e-4)


def test_a_sampler_with_its_own_keys(tmp_path: Path, few: Path) -> None:
    file = run(tmp_path, "sampler=uniform", "sampler.num_frames=4", collection=few)
    assert list(np.diff(file.offsets)) == [4, 4, 4]


@pytest.mark.dear
def test_segments_that_sampling_misses_get_their_middle_frame(tmp_path: Path, few: Path) -> None:
    table = tmp_path / "shots.tsv"
    table.write_text("s1\tcoffee_phone\t0.1\t0.3\ns2\tretina\t0.1\t0.2\n")
    file = run(tmp_path, "sampler=segments", f"sampler.file={table}", "sampler.fps=1", collection=few)
    assert [i for i in file.ids if not i.startswith("shuttle")] == [
        "coffee_phone_0", "coffee_phone_6", "coffee_phone_30", "coffee_phone_60", "retina_0", "retina_4",
    ]  # fmt: skip
    table.write_text("s1\tretnia\t0\t0.3\n")
    with pytest.raises(UsageError, match="1 segments are of videos that the collection does not have: line 1: retnia"):
        run(tmp_path, "sampler=segments", f"sampler.file={table}", collection=few)
    table.write_text("s1\tretina\t0\t0.3\n")
    with pytest.raises(OutputError, match=r"sampler\.file: .* there, "):
        run(tmp_path, "sampler=segments", f"sampler.file={table}", "sampler.fps=1", collection=few)


def test_a_finished_run_does_nothing_and_says_so(tmp_path: Path, few: Path) -> None:
    first = run(tmp_path, collection=few)
    before = first.path.stat()
    again = run(tmp_path, collection=few)
    assert (again.path.stat().st_ino, again.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    log = (again.path.parent / "extract.log").read_text()
    assert "all 3 videos are done, nothing to do (overwrite=true starts over)" in log


@pytest.mark.dear
def test_videos_added_later_are_added(tmp_path: Path, few: Path) -> None:
    run(tmp_path, collection=few)
    link_clips(few, "cat.mp4")
    file = run(tmp_path, collection=few)
    assert list(file) == ["cat", "coffee_phone", "retina", "shuttle"]
    assert "1 videos to do, 3 of 4 done before" in (file.path.parent / "extract.log").read_text()


def test_another_collection_of_the_same_name_is_refused_and_a_moved_one_is_not(tmp_path: Path, few: Path) -> None:
    run(tmp_path / "out", collection=few)
    shutil.copytree(few, tmp_path / "other" / "few")
    with pytest.raises(OutputError, match=rf"collection: {few} there, {tmp_path}/other/few here"):
        run(tmp_path / "out", collection=tmp_path / "other" / "few")
    shutil.rmtree(few)
    assert len(run(tmp_path / "out", collection=tmp_path / "other" / "few")) == 3


def test_what_was_not_delivered_is_missed_and_the_next_run_brings_it(
    tmp_path: Path, few: Path, toy_features: FeatureFile
) -> None:
    with pytest.raises(
        ExtractionError, match=r"1 of 3 videos were not delivered \(retina\);.*run the same command again"
    ):
        # the costliest first: the 4 frames of shuttle, the 5 of coffee_phone
        run(tmp_path, "+trainer.limit_predict_batches=1", "batch_size=9", "dataset.num_workers=0", collection=few)
    file = run(tmp_path, collection=few)
    assert list(file) == ["coffee_phone", "retina", "shuttle"]
    np.testing.assert_allclose(file["shuttle"], toy_features["shuttle"], atol=BATCH_COMPOSITION)


def test_frames_of_unknown_times_fail_alone_where_times_are_asked_for(tmp_path: Path) -> None:
    for video in ["cat", "retina"]:
        (tmp_path / "c" / "ImageData" / video).mkdir(parents=True)
        shutil.copy(TOYDATA / "ImageData/cat/cat_0.jpg", tmp_path / f"c/ImageData/{video}/{video}_0.jpg")
    shutil.copy(TOYDATA / "ImageData/cat/cat_0.jpg", tmp_path / "c/ImageData/retina/retina_99999.jpg")
    shutil.copytree(TOYDATA / "VideoData", tmp_path / "c/VideoData")
    file = run(tmp_path, "dataset=frame", "sampler=half_second", collection=tmp_path / "c")
    assert list(file) == ["cat"]
    assert [(f.id, f.stage) for f in file.failures] == [("retina", "decode")]
    assert "sampler=all" in file.failures[0].error


def test_frames_beyond_their_video_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "c" / "ImageData" / "cat"
    folder.mkdir(parents=True)
    for index in (0, 25, 99_999):
        shutil.copy(TOYDATA / "ImageData/cat/cat_0.jpg", folder / f"cat_{index}.jpg")
    shutil.copytree(TOYDATA / "VideoData", tmp_path / "c/VideoData")
    file = run(tmp_path, "dataset=frame", collection=tmp_path / "c")
    assert np.isnan(file.seconds).tolist() == [False, False, True]
    (failure,) = file.failures
    assert (failure.id, failure.stage) == ("cat", "open")
    assert failure.error.startswith("1 frames, the first 99999, lie beyond the ")
    assert "frames" not in file.provenance["recipe"], "which vfx did not cut"


def test_frames_that_were_cut_anew_are_another_recipe(tmp_path: Path, few: Path) -> None:
    cut = [f"collection={few}", "sampler=uniform", "sampler.num_frames=1", "num_workers=0"]
    frames.main(*cut)
    made = run(tmp_path, "dataset=frame", collection=few)
    assert made.provenance["recipe"]["frames"]["format"] == "jpg"
    (few / "ImageData" / "a").mkdir()
    run(tmp_path, "dataset=frame", collection=few)
    frames.main(*cut, "format=png", "overwrite=true")
    with pytest.raises(OutputError, match=r"frames\.format: jpg there, png here"):
        run(tmp_path, "dataset=frame", collection=few)


@pytest.mark.dear
def test_another_recipe_is_refused_and_overwrite_starts_over(tmp_path: Path, few: Path) -> None:
    run(tmp_path, collection=few)
    with pytest.raises(OutputError, match=r"sampler\.name: half_second there, all_frames here"):
        run(tmp_path, "sampler=all", collection=few)
    file = run(tmp_path, "sampler=all", "overwrite=true", collection=few)
    assert np.diff(file.offsets)[1] == 9


def test_what_cannot_be_read_is_counted_and_the_rest_is_there(tmp_path: Path, few: Path) -> None:
    (few / "VideoData" / "empty.mp4").write_bytes(b"")
    (few / "VideoData" / "text.avi").write_text("this is no video\n" * 100)
    file = run(tmp_path, collection=few)
    assert list(file) == ["coffee_phone", "retina", "shuttle"]
    assert [(f.id, f.stage) for f in file.failures] == [("empty", "open"), ("text", "open")]
    assert (file.path.parent / "failures.tsv").read_text().splitlines()[1].startswith("empty\topen\t")
    with pytest.raises(ExtractionError, match=r"strict=true and 2 failures, listed in .*failures\.tsv"):
        run(tmp_path, "strict=true", collection=few)


def test_not_one_readable_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad" / "VideoData").mkdir(parents=True)
    (tmp_path / "bad" / "VideoData" / "empty.mp4").write_bytes(b"")
    for _ in range(2):  # and stays one
        with pytest.raises(ExtractionError, match="not one of 1 videos could be read"):
            run(tmp_path, collection=tmp_path / "bad")


def test_random_weights_are_in_the_name(tmp_path: Path, few: Path) -> None:
    file = run(tmp_path, "model.weights=random", collection=few)
    assert file.feature == file.path.parent.name == "efficientnet_lite0,avgpool,random"


@pytest.mark.parametrize(("overrides", "error", "text"), [
    (("collection=/nowhere/at/all",), CollectionError, "neither /nowhere/at/all nor /nowhere/at/all is a folder"),
    (("sampler=fps", "sampler.fps=0"), SamplerError, r"sampler\.fps \(0\) must be positive"),
    (("model=timm",), UsageError, r"^missing model\.name: give model\.name=\.\.\. \(see --help\)$"),
    (("oversample=1",), UsageError, r"oversample \(1\) must be false, true or keep"),
    (("feature=../evil",), UsageError, r"feature \(\.\./evil\) must be names of folders"),
    (("feature=mine", "model.weights=random"), UsageError, r"feature \(mine\) must end in ,random"),
    (("collection=2024",), CollectionError, "collection 2024: neither "),
    (("overwrite=no",), UsageError, r"overwrite \(no\) must be true or false"),
    (("trainer.logger=abc",), UsageError, r"trainer\.logger \(abc\) must be true or false"),
    (("collection=null",), UsageError, r"collection must not be null: give collection=\.\.\. \(see --help\)"),
    (("feature=null",), UsageError, r"feature must not be null"),
    (("model=timm", "model.name=null"), UsageError, r"model\.name \(None\) must be text"),
    (("model=timm", "model.name=1.5"), UsageError, r"1\.5"),
    (("model.weights=[1]",), UsageError, r"model\.weights \(\[1\]\) must be text"),
    (("model=[resnet50,resnest50]", "model.layer=true"), UsageError, r"models?[\w.]*\.layer \(True\) must be text"),
    (("writer.dtype={a:1}",), UsageError, r"writer\.dtype \(\{'a': 1\}\) must be text"),
    (("batch_size=0",), UsageError, r"batch_size \(0\) must be a whole number of at least 1"),
    (("batch_size=auto",), UsageError, r"batch_size \(auto\) must be a whole number of at least 1"),
    (("dataset.num_workers=all",), UsageError, r"dataset\.num_workers \(all\) must be a whole number of at least 0"),
    (("num_threads=two",), UsageError, r"num_threads \(two\) must be a whole number of at least 1"),
    (("tf32=true", "trainer=cpu"), UsageError, r"tf32 \(true\) is for .* on a GPU by CUDA, not for 32-true on cpu"),
    (("tf32=perhaps",), UsageError, r"tf32 \(perhaps\) must be true or false"),
    (("writer.commit_mb=-1",), UsageError, r"writer\.commit_mb \(-1\) must be a number of at least 0"),
    (("writer.commit_seconds=soon",), UsageError, r"writer\.commit_seconds \(soon\) must be a number of at least 0"),
    (("writer.silence_seconds=0",), UsageError, r"writer\.silence_seconds \(0\) must be a number above 0"),
    (("trainer.precision=fp16",), UsageError, r"^trainer: .*fp16.*32-true.*; trainer=cpu does without any device"),
    (("+trainer.limit_predict_batches=some",), UsageError, r"^trainer: .* not supported .*; trainer=cpu does"),
    (("trainer.accelerator=tpu",), UsageError, r"^trainer: .*; trainer=cpu does without any device"),
    (("dataset.num_workers=-1",), UsageError, r"dataset\.num_workers \(-1\) must be a whole number of"),
    (("dataset.decoder=vlc",), UsageError, r"decoder \(vlc\) must be one of auto, "),
    (("oversample=twice",), UsageError, r"oversample \(twice\) must be false, true or keep"),
    (("writer.dtype=int8",), UsageError, r"writer\.dtype \(int8\) must be one of float32, float16"),
    (("model._target_=torch.load",), UsageError, r"_target_ torch\.load is not one that a config may name"),
    (("+sampler.speed=3",), UsageError, "unexpected keyword argument 'speed'"),
])  # fmt: skip
def test_a_mistake_is_named_before_any_work(
    tmp_path: Path, overrides: tuple[str, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        extract.main(f"collection={TOYDATA}", f"output_dir={tmp_path}", *overrides)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.dear
def test_from_the_shell_an_error_is_a_message_and_the_exit_code(tmp_path: Path) -> None:
    done = run_verb("extract", "collection=nowhere", f"output_dir={tmp_path}", f"rootpath={tmp_path}", code=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: collection nowhere: neither {tmp_path}/nowhere nor {ROOT}/nowhere")
    assert "Traceback" not in done.stderr


def test_from_the_shell_a_missing_key_is_named() -> None:
    done = run_verb("extract", code=1)
    assert done.stderr == "error: missing collection: give collection=... (see --help)\n"


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    done = run_verb("extract", "collection=toydata", "model=resnext101", code=1)
    assert "model (resnext101) is not one of its options; nearest: " in done.stderr
    assert "resnext101_32x8d" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.dear
def test_the_shell_prints_the_path_last_and_from_any_folder(tmp_path: Path, few: Path) -> None:
    done = run_verb("extract", "collection=few", f"rootpath={few.parent}", "feature=mine,a,b", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "outputs/few/mine,a,b/features.h5"
    assert json.loads(FeatureFile(tmp_path / "outputs/few/mine,a,b").attributes["provenance"])


@pytest.mark.dear
def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, few: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from vfx import extract\n"
        f"print('begun')\nprint(extract.main('collection={few}', 'output_dir={tmp_path}', 'trainer=cpu'))\n"
    )
    assert run_python(script).stdout.split() == ["begun", f"{tmp_path}/few/efficientnet_lite0,avgpool/features.h5"]


@pytest.mark.dear
def test_several_models_share_one_decode_and_write_what_each_writes_alone(tmp_path: Path, few: Path) -> None:
    models = ["model=[efficientnet_lite0,resnet50]", "models.resnet50.weights=random"]
    both = extract.main(f"collection={few}", f"output_dir={tmp_path / 'both'}", "trainer=cpu", *models)
    assert isinstance(both, list)
    assert [path.parent.name for path in both] == ["efficientnet_lite0,avgpool", "resnet50,avgpool,random"]
    alone = [
        run(tmp_path / "alone", collection=few),
        run(tmp_path / "alone", "model=resnet50", "model.weights=random", collection=few),
    ]
    for path, wanted in zip(both, alone, strict=True):
        file = FeatureFile(path)
        same(file, wanted, atol=2e-5 * float(abs(wanted.features[:]).max()))
        assert file.provenance["recipe"] == wanted.provenance["recipe"]
        theirs, ours = (OmegaConf.create(f.attributes["config"]) for f in (wanted, file))
        theirs.output_dir = ours.output_dir
        assert ours == theirs


@pytest.mark.dear
def test_several_models_whose_frames_are_prepared_otherwise(tmp_path: Path, few: Path) -> None:
    """resnest50 takes other pixels than efficientnet_lite0; what one of two has done already is done for both."""
    kept = run(tmp_path, collection=few).features[:]
    both = extract.main(
        f"collection={few}", f"output_dir={tmp_path}", "trainer=cpu",
        "model=[efficientnet_lite0,resnest50]", "models.resnest50.weights=random",
    )  # fmt: skip
    files = [FeatureFile(path) for path in both]
    same(files[0], run(tmp_path / "alone", collection=few))
    np.testing.assert_array_equal(files[0].features[:], kept)
    alone = run(tmp_path / "alone", "model=resnest50", "model.weights=random", collection=few)
    same(files[1], alone, atol=2e-5 * float(abs(alone.features[:]).max()))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["model=[resnet50,resnet50]"], "must be one list of models, each once"),
        (["model=[]"], "must be one list of models"),
        (["model=[resnet50", "model.weights=random"], "must be one list of models"),
        (["model=[efficientnet_lite0,resnet50]", "feature=f"], r"feature \(f\) cannot be given with several models"),
    ],
)
def test_lists_of_models_that_make_no_sense(overrides: list[str], text: str, tmp_path: Path, few: Path) -> None:
    with pytest.raises(UsageError, match=text):
        run(tmp_path, *overrides, collection=few)


@pytest.mark.dear
def test_workers_read_while_the_network_is_made_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And not before: how frames are preprocessed is known once it is loaded."""
    at_work: list[int] = []

    def counted(self: Encoder, *arguments: str, of: Callable[..., None], **options: Any) -> None:
        at_work.append(len(multiprocessing.active_children()))
        of(self, *arguments, **options)

    for name in ("__init__", "optimize"):
        monkeypatch.setattr(Encoder, name, partialmethod(counted, of=getattr(Encoder, name)))
    assert len(run(tmp_path, "dataset.num_workers=2")) == 8
    assert at_work == [0, 2]
    run(tmp_path / "two", "dataset.num_workers=0")
    run(tmp_path, "dataset.num_workers=2")  # which is done
    assert at_work[2:] == [0, 0, 0]
    path = tmp_path / "toydata/efficientnet_lite0,avgpool/features.h5"
    made = path.stat().st_mtime_ns
    run(tmp_path, "dataset.num_workers=2", "overwrite=true")
    assert at_work[5:] == [0, 2]
    assert path.stat().st_mtime_ns > made

    for name, workers in (("__init__", 0), ("optimize", 2)):

        def refused(self: Encoder, *arguments: str, workers: int = workers, **options: Any) -> None:
            assert len(multiprocessing.active_children()) == workers
            raise UsageError("not ready")

        with monkeypatch.context() as patched, pytest.raises(UsageError, match=r"^not ready$"):
            patched.setattr(Encoder, name, refused)
            run(tmp_path / "three", "dataset.num_workers=2")
        assert multiprocessing.active_children() == []


@pytest.mark.dear
def test_what_another_run_has_done_by_the_time_the_network_is_there_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, few: Path
) -> None:
    """What is done is looked up once the networks are loaded and the output is locked."""
    first = Encoder.__init__

    def later(self: Encoder, *arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(Encoder, "__init__", first)
        kept.append(run(tmp_path, collection=few).features[:])
        first(self, *arguments, **options)

    kept: list[NDArray[Any]] = []
    monkeypatch.setattr(Encoder, "__init__", later)
    file = run(tmp_path, "dataset.num_workers=1", collection=few)
    np.testing.assert_array_equal(file.features[:], kept[0])
    assert "nothing to do" in (tmp_path / few.name / "efficientnet_lite0,avgpool/extract.log").read_text()
    assert multiprocessing.active_children() == []


def test_batches_of_a_network_that_is_slow_to_begin_a_size_have_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, few: Path
) -> None:
    """As where it is compiled, or on a GPU."""
    sizes = []

    def run_and_noted(self: Encoder, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return self.body(images)

    monkeypatch.setattr(Encoder, "compiles", True)
    monkeypatch.setattr(Encoder, "run", run_and_noted)
    file = run(tmp_path, "batch_size=7", "dataset.num_workers=0", collection=few)
    assert len(file.features) % 7
    assert set(sizes) == {7}
