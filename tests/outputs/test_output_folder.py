"""Output folders: recipes, resume, locks, and damaged parts."""

import logging
from contextlib import suppress

import numpy as np
import pytest

from tests.outputs.parts import ATTRIBUTES, RECIPE, assembled, commit, commit_chunk, finish, parts
from vfx.collection.source import Chunk
from vfx.errors import ExtractionError, OutputError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.output_folder import OutputFolder


def test_another_recipe_is_refused_with_what_differs(output: OutputFolder) -> None:
    other = {"model": {"name": "m"}, "sampler": {"name": "fps", "fps": 4}}
    with pytest.raises(OutputError, match=r"overwrite=true starts over(.|\n)*sampler\.fps: 2 there, 4 here"):
        output.prepare(other, overwrite=False)
    commit(output, "a", 1)
    output.assemble(ATTRIBUTES)
    with pytest.raises(OutputError, match=r"sampler\.fps: 2 there, 4 here"):
        output.prepare(other, overwrite=False)
    output.prepare(other, overwrite=True)
    assert output.done() == set()


def test_new_videos_join_a_finished_file(output: OutputFolder) -> None:
    for video in ["b", "a"]:
        writer = parts(output)
        output.prepare(RECIPE, overwrite=False)
        finish(writer, video, ord(video))
        writer.commit()
        assert not output.is_complete()
        file = assembled(output)
    with file:
        assert [(v, file[v][0, 0]) for v in file] == [("a", 97), ("b", 98)]


def test_a_second_run_is_told_of_the_first(output: OutputFolder) -> None:
    left = output.folder / ".features.h5.0123abcd.tmp"
    left.write_bytes(b"of a killed run")
    with output.locked():
        assert not left.exists()
        with (
            pytest.raises(OutputError, match=f"another run is writing to {output.folder}"),
            output.locked(),
        ):
            pass
    with output.locked():
        pass


def test_a_run_that_starts_over_leaves_no_part_without_its_recipe(output: OutputFolder) -> None:
    commit(output, "a", 1)
    left = output.folder / ".given-up.0123abcd"  # as by a run killed while it removed them
    output.parts.rename(left)
    with output.locked():
        assert not left.exists()
        output.prepare({"model": {"name": "other"}}, overwrite=False)
        assert output.done() == set()


def test_a_recipe_that_cannot_be_read_is_no_recipe(output: OutputFolder) -> None:
    (output.parts / "recipe.json").write_text("{")
    with pytest.raises(OutputError, match=r"recipe\.json does not tell how it was made; overwrite=true starts over"):
        output.prepare(RECIPE, overwrite=False)
    output.prepare(RECIPE, overwrite=True)


@pytest.mark.parametrize("damage", ["empty", "cut", "scribbled", "flipped"])
def test_a_damaged_part_is_set_aside_and_its_videos_read_again(
    output: OutputFolder, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vfx"), "propagate", True)
    for video in "ab":
        commit(output, video, ord(video))
    first = next(p for p in output.parts.glob("part-*") if list(FeatureFile(p)) == ["a"])
    data = first.read_bytes()
    value = np.float32(97).tobytes()
    assert value in data
    first.write_bytes(
        {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "scribbled": data[:2000] + b"\xff" * 3000 + data[5000:],
            "flipped": data.replace(value, np.float32(98).tobytes(), 1),
        }[damage]
    )
    output.prepare(RECIPE, overwrite=False)
    assert f"{first} is damaged and set aside, and its videos are read again: " in caplog.text
    assert output.done() == {"b"}
    assert (output.parts / f"damaged-{first.name}").exists()
    commit(output, "a", 97)
    with assembled(output) as file:
        assert {video: file[video].tolist() for video in file} == {"a": [[97] * 4] * 3, "b": [[98] * 4] * 3}


def test_a_part_that_is_damaged_when_parts_are_merged_ends_the_run_and_not_the_next(output: OutputFolder) -> None:
    for video in "ab":
        commit(output, video, ord(video))
    first = next(p for p in output.parts.glob("part-*") if list(FeatureFile(p)) == ["a"])
    data = first.read_bytes()
    places = [at for at in range(len(data)) if data.startswith(b"TREE", at)]  # where HDF5 looks up chunks
    for at in places:
        first.write_bytes(data[:at] + b"FREE" + data[at + 4 :])
        with suppress(OutputError), FeatureFile(first) as file:
            assert len(file) == 1
            with pytest.raises(OutputError, match="is damaged"):
                list(file.blocks("a", 10))
            break
    with pytest.raises(ExtractionError, match=rf"{first} is damaged: .*run the same command again, which reads its"):
        output.assemble(ATTRIBUTES)
    assert not output.features.exists()
    assert output.done() == {"b"}
    output.prepare(RECIPE, overwrite=False)
    commit(output, "a", 97)
    with assembled(output) as file:
        assert [file[video][0, 0] for video in file] == [97, 98]


def test_a_damaged_chunk_is_read_again_and_no_other(output: OutputFolder) -> None:
    for n in range(3):
        commit_chunk(output, "a", Chunk(n, n + 1, 3), range(3 * n, 3 * n + 3))
    assert output.done() == {"a"}
    second = next(p for p in output.parts.glob("part-*") if FeatureFile(p).chunks["a"] == Chunk(1, 2, 3))
    second.write_bytes(second.read_bytes()[:-1000])
    output.prepare(RECIPE, overwrite=False)
    assert output.done() == set()
    assert output.committed().chunks() == {("a", Chunk(0, 1, 3)), ("a", Chunk(2, 3, 3))}
