"""The merge of parts, with complete videos and chunks of them, to one file."""

import os
import random
import resource
from pathlib import Path

import numpy as np
import pytest

from tests.outputs.parts import (
    ATTRIBUTES,
    RECIPE,
    assembled,
    commit,
    commit_chunk,
    finish,
    held,
    parts,
    put_chunk,
    put_complete,
)
from vfx.collection.source import Chunk
from vfx.errors import ExtractionError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure
from vfx.outputs.merge_parts import CommittedFiles, merge
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.part_writer import PartWriter


def test_parts_in_any_order_become_one_sorted_file(output: OutputFolder) -> None:
    one, two = parts(output), parts(output)
    finish(one, "b", 2)
    finish(two, "c", 3)
    finish(two, "a", 1)
    one.commit()
    two.commit()
    with assembled(output) as file:
        assert list(file) == ["a", "b", "c"]
        assert [file[v][0, 0] for v in file] == [1, 2, 3]
        assert file.provenance["decoders"] == {"pyav": 3}
    assert not output.parts.exists()
    assert output.is_complete()


def test_a_video_committed_twice_counts_once(output: OutputFolder) -> None:
    for _ in range(2):
        commit(output, "a", 1)
    with assembled(output) as file:
        assert file.features.shape == (3, 4)


def test_failures_are_done_and_kept(output: OutputFolder) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    writer.finish("bad", [Failure("bad", "open", "no such codec")], "")
    writer.commit()
    assert output.done() == {"a", "bad"}
    with assembled(output) as file:
        assert list(file) == ["a"]
        assert file.failures == [Failure("bad", "open", "no such codec")]
    assert output.done() == {"a", "bad"}


def test_no_video_at_all_is_an_error(output: OutputFolder) -> None:
    writer = parts(output)
    writer.finish("bad", [Failure("bad", "open", "empty file")], "")
    writer.commit()
    with pytest.raises(ExtractionError, match=r"not one of 1 videos could be read.*bad: empty file"):
        output.assemble(ATTRIBUTES)
    assert not output.features.exists()


def merged_three_at_once(output: OutputFolder) -> FeatureFile:
    before = len(list(Path("/proc/self/fd").iterdir()))
    merge(CommittedFiles(output.files()), output.features, ATTRIBUTES, max_open_files=3)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    return FeatureFile(output.features)


def test_more_parts_than_files_may_be_open(output: OutputFolder) -> None:
    for n in range(20):
        writer = parts(output)
        finish(writer, f"v{n:02d}", n)
        finish(writer, f"w{n:02d}", n)
        writer.commit()
    with merged_three_at_once(output) as file:
        assert [file[f"w{n:02d}"][0, 0] for n in range(20)] == list(range(20))


@pytest.mark.dear
def test_parts_are_opened_one_after_the_other(output: OutputFolder) -> None:
    for n in range(60):
        commit(output, f"v{n:02d}", n)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    fillers = [os.dup(0)]
    while fillers[-1] < in_use:  # none below is free
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 20, limits[1]))
    try:
        merge(CommittedFiles(output.files()), output.features, ATTRIBUTES, max_open_files=5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)
    with FeatureFile(output.features) as file:
        assert len(file) == 60


@pytest.mark.parametrize("seed", range(5))
def test_chunks_make_the_file_that_complete_videos_make(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    short = [Failure("b", "decode", "file holds 90 of the 99 frames that its header promises")]
    undivided, divided = OutputFolder(tmp_path / "undivided"), OutputFolder(tmp_path / "divided")
    for output in (undivided, divided):
        output.prepare(RECIPE, overwrite=False)
    writer = parts(undivided)
    for video in "abc":
        put_complete(writer, video, range(90), short if video == "b" else None)
    writer.commit()
    undivided.assemble(ATTRIBUTES)
    writers = [parts(divided) for _ in range(3)]
    cuts = [0, *sorted(rng.randrange(90) for _ in range(6)), 90]  # a chunk may have no row
    tasks = [("b", Chunk(n, n + 1, 7)) for n in range(7)] + [("a", Chunk(5 * n, 5 * n + 5, 10)) for n in range(2)]
    for video, chunk in rng.sample(tasks, len(tasks)):
        writer = rng.choice(writers)
        if video == "b":
            put_chunk(writer, video, chunk, range(cuts[chunk.begin], cuts[chunk.end]), short)
        else:
            put_chunk(writer, video, chunk, range(9 * chunk.begin, 9 * chunk.end))
        if rng.random() < 0.3:
            rng.choice(writers).commit()
    put_complete(writers[0], "c", range(90))
    for writer in writers:
        writer.close()
    assert divided.done() == {"a", "b", "c"}
    assert divided.committed().chunks() == set()
    with assembled(divided) as file:
        assert held(divided) == held(undivided)
        assert file.provenance["decoders"] == {"pyav": 3}
        assert file.failures == short


def test_a_video_is_done_with_its_last_chunk(output: OutputFolder) -> None:
    committed: set[tuple[str, Chunk]] = set()
    for n in (2, 0, 1):
        assert output.done() == set()
        assert output.committed().chunks() == committed
        commit_chunk(output, "a", Chunk(n, n + 1, 3), range(3 * n, 3 * n + 3))
        committed.add(("a", Chunk(n, n + 1, 3)))
    assert output.done() == {"a"}
    assert output.committed().chunks() == set()
    with assembled(output) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(9))


def test_chunks_that_overlap_give_each_row_once(output: OutputFolder) -> None:
    """As where a damaged part was set aside, or one of several features is behind."""
    reach = 0
    for begin, end in [(0, 2), (1, 4), (1, 2), (3, 6)]:
        assert output.done() == set()
        assert output.committed().chunks() == {("a", Chunk(n, n + 1, 6)) for n in range(reach)}
        commit_chunk(output, "a", Chunk(begin, end, 6), range(3 * begin, 3 * end))
        reach = max(reach, end)
    assert output.done() == {"a"}
    with assembled(output) as file:
        assert list(file.ids) == [f"a_{i}" for i in range(18)]
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(18))


def test_chunks_of_two_divisions_are_not_mixed(output: OutputFolder) -> None:
    writer = parts(output)
    put_chunk(writer, "a", Chunk(0, 1, 2), range(5))
    put_chunk(writer, "a", Chunk(1, 2, 3), range(3, 6))
    writer.close()
    assert output.done() == set()
    commit_chunk(output, "a", Chunk(1, 2, 2), range(5, 9))
    assert output.done() == {"a"}
    with assembled(output) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(9))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_the_complete_video_counts_not_its_chunks(output: OutputFolder, late: bool, together: bool) -> None:
    damaged = [Failure("a", "decode", "8 of 9 frames could be decoded: Invalid data found")]

    def complete(writer: PartWriter) -> None:
        put_complete(writer, "a", range(1, 9), damaged)
        put_complete(writer, "b", range(0), [Failure("b", "decode", "decoder crashed (SIGSEGV)")])

    def chunks(writer: PartWriter) -> None:
        for video in "ab":
            for n in range(3):
                put_chunk(writer, video, Chunk(n, n + 1, 3), range(3 * n, 3 * n + 3))

    writer = parts(output)
    for act in (chunks, complete) if late else (complete, chunks):
        act(writer)
        if not together:
            writer.commit()
    writer.close()
    assert output.done() == {"a", "b"}
    with assembled(output) as file:
        assert list(file) == ["a"]
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(1, 9))
        assert file.failures == [*damaged, Failure("b", "decode", "decoder crashed (SIGSEGV)")]


def test_more_chunks_than_files_may_be_open(output: OutputFolder) -> None:
    writer = parts(output)
    for n in range(20):
        put_chunk(writer, "a", Chunk(n, n + 1, 20), range(3 * n, 3 * n + 3))
    writer.close()
    assert len(list(output.parts.glob("part-*.h5"))) == 20
    with merged_three_at_once(output) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(60))


def test_chunks_of_a_video_that_left_the_collection_do_no_harm(output: OutputFolder) -> None:
    writer = parts(output)
    put_chunk(writer, "a", Chunk(0, 1, 2), range(3), [Failure("a", "decode", "file holds 3 of the 4 frames")])
    put_complete(writer, "b", range(2))
    writer.close()
    assert output.done() == {"b"}
    with assembled(output) as file:
        assert list(file) == ["b"]
        assert file.failures == []
