"""Parts: how rows are gathered and finished videos committed."""

import shutil
import time

import h5py
import numpy as np
import pytest

from tests.outputs.parts import RECIPE, assembled, commit_chunk, finish, parts, put, put_chunk, put_complete
from vfx.collection.source import Chunk
from vfx.errors import OutputError
from vfx.features import integrity
from vfx.features.feature_file import FeatureFile
from vfx.outputs.merge_parts import BLOCK_ROWS
from vfx.outputs.output_folder import OutputFolder


def test_rows_of_several_videos_come_in_turns(output: OutputFolder) -> None:
    writer = parts(output)
    put(writer, "a", 1)
    put(writer, "b", 2)
    put(writer, "a", 3, at=3)
    writer.finish("b", [], "pyav")
    writer.finish("a", [], "decord")
    writer.commit()
    with assembled(output) as file:
        np.testing.assert_array_equal(file["a"][:, 0], [1, 1, 1, 3, 3, 3])
        assert list(file.ids[:6]) == [f"a_{i}" for i in range(6)]
        assert list(file.decoders) == ["decord", "pyav"]


def test_a_video_that_starts_over_loses_its_first_rows(output: OutputFolder) -> None:
    writer = parts(output)
    put(writer, "a", 1, count=7)
    finish(writer, "a", 2)
    writer.commit()
    with assembled(output) as file:
        np.testing.assert_array_equal(file["a"], np.full((3, 4), 2))


def test_only_finished_videos_are_committed(output: OutputFolder) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    put(writer, "b", 2)
    writer.close()
    assert output.done() == {"a"}


def test_a_part_is_committed_when_enough_is_waiting(output: OutputFolder) -> None:
    writer = parts(output, commit_mb=50 / (1 << 20))
    finish(writer, "a", 1)
    assert output.done() == {"a"}
    finish(writer, "b", 2)
    assert output.done() == {"a", "b"}


def test_a_long_video_waits_on_the_disk(output: OutputFolder) -> None:
    count = 2 * BLOCK_ROWS + 28
    writer = parts(output, spool_bytes=1000)
    for at in range(0, count, 10):
        put(writer, "a", at, count=10, at=at)
    writer.finish("a", [], "pyav")
    writer.commit()
    with assembled(output) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(count) // 10 * 10)


@pytest.mark.parametrize(("dtype", "value"), [("float32", np.nan), ("float32", np.inf), ("float16", 1e6)])
def test_values_that_cannot_be_stored_fail_their_video(output: OutputFolder, dtype: str, value: float) -> None:
    writer = parts(output, dtype)
    finish(writer, "good", 1)
    put(writer, "bad", 1)
    put(writer, "bad", value, at=3)
    failures = writer.finish("bad", [], "pyav")
    assert [(f.id, f.stage) for f in failures] == [("bad", "network")]
    writer.commit()
    with assembled(output) as file:
        assert list(file) == ["good"]
        assert "NaN or infinity" in file.failures[0].error


def test_old_videos_are_committed_while_a_long_one_is_read(output: OutputFolder) -> None:
    writer = parts(output, commit_seconds=0.2)
    finish(writer, "a", 1)
    time.sleep(0.3)
    put(writer, "long", 2)
    assert output.done() == {"a"}
    writer.close()


def test_the_first_error_of_a_commit_is_the_one_that_is_seen(output: OutputFolder) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    shutil.rmtree(output.parts)
    with pytest.raises(OutputError, match=r"part-.*\.h5 could not be written: its folder is gone"):
        writer.commit()
    writer.close()  # as the run does on its way out: nothing more to say


def test_reading_a_complete_video_discards_its_chunks(output: OutputFolder) -> None:
    writer = parts(output)
    writer.start("a", Chunk(0, 1, 2))
    writer.append("a", np.zeros((1, 4), np.float32), np.array([0]), np.array([0.0]), Chunk(0, 1, 2))
    put_chunk(writer, "a", Chunk(1, 2, 2), range(5, 9))
    put_complete(writer, "a", range(9))
    writer.close()
    (part,) = output.parts.glob("part-*.h5")
    with FeatureFile(part) as file:
        assert file.failures == []
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(9))


def test_values_that_cannot_be_stored_in_one_chunk_fail_the_video(output: OutputFolder) -> None:
    writer = parts(output)
    put_chunk(writer, "a", Chunk(0, 1, 2), range(3))
    writer.append("a", np.full((1, 4), np.nan, np.float32), np.array([3]), np.array([1.5]), Chunk(1, 2, 2))
    assert [f.stage for f in writer.finish("a", [], "pyav", Chunk(1, 2, 2))] == ["network"]
    put_complete(writer, "b", range(2))
    writer.close()
    assert output.done() == {"a", "b"}
    with assembled(output) as file:
        assert list(file) == ["b"]
        assert [(f.id, f.stage) for f in file.failures] == [("a", "network")]


def test_a_part_with_chunks_is_a_feature_file_that_says_so(output: OutputFolder) -> None:
    commit_chunk(output, "a", Chunk(2, 3, 3), range(6, 9))
    (part,) = output.parts.glob("part-*.h5")
    with FeatureFile(part) as file:
        assert list(file.ids) == ["a_6", "a_7", "a_8"]
        assert file.failures == []
        assert file.chunks == {"a": Chunk(2, 3, 3)}
    assert [f for _, f in integrity.examine_files([part])] == []


@pytest.mark.parametrize("chunk", [Chunk(2, 2, 3), Chunk(2, 4, 3), Chunk(-1, 1, 3)])
def test_a_chunk_that_cannot_be_is_found(output: OutputFolder, chunk: Chunk) -> None:
    commit_chunk(output, "a", chunk, range(1, 4))
    findings = [finding.text for _, finding in integrity.examine_files(output.part_paths())]
    assert findings == ["chunks, row 0: not a range of its total"]


@pytest.mark.parametrize("change", ["units", "gone"])
def test_a_chunk_that_was_changed_is_found(output: OutputFolder, change: str) -> None:
    commit_chunk(output, "a", Chunk(0, 1, 3), range(1, 4))
    (part,) = output.part_paths()
    with h5py.File(part, "r+") as file:
        if change == "gone":
            del file["chunks"]
        else:
            file["chunks"][0] = ("a", 0, 2, 3)
    (finding,) = [finding.text for _, finding in integrity.examine_files([part])]
    assert finding.startswith("chunks: not what was written" if change == "units" else "attribute digests: 'chunks'")
    output.prepare(RECIPE, overwrite=False)
    assert output.committed().chunks() == set()  # the part is set aside
