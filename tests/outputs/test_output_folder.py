"""Output folders: parts, resume, recipes and the merge to one file."""

import json
import logging
import os
import random
import resource
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from vfx.collection.source import Chunk
from vfx.errors import ExtractionError, OutputError
from vfx.features import checksums, integrity
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure
from vfx.outputs.output_folder import Output, PartWriter, conflicts, differences

RECIPE = {"model": {"name": "m"}, "sampler": {"name": "fps", "fps": 2}}
ATTRIBUTES = {
    "feature": "f",
    "collection": "c",
    "config": "",
    "provenance": '{"recipe": {"model": {"name": "m"}, "sampler": {"name": "fps", "fps": 2}}}',
}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    output = Output(tmp_path / "f")
    output.prepare(RECIPE, overwrite=False)
    return output


def parts(output: Output, dtype: str = "float32", commit_mb: float = 64) -> PartWriter:
    return PartWriter(output, shape=(4,), dtype=dtype, attributes=ATTRIBUTES, commit_mb=commit_mb, commit_seconds=1e9)


def put(writer: PartWriter, video: str, value: float, count: int = 3, at: int = 0) -> None:
    index = np.arange(at, at + count)
    writer.append(video, np.full((count, 4), value, np.float32), index, index / 2)


def finish(writer: PartWriter, video: str, value: float) -> None:
    writer.start(video)
    put(writer, video, value)
    writer.finish(video, [], "pyav")


def test_parts_in_any_order_become_one_sorted_file(output: Output) -> None:
    one, two = parts(output), parts(output)
    finish(one, "b", 2)
    finish(two, "c", 3)
    finish(two, "a", 1)
    one.commit()
    two.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file) == ["a", "b", "c"]
        assert [file[v][0, 0] for v in file] == [1, 2, 3]
        assert file.provenance["decoders"] == {"pyav": 3}
    assert not output.parts.exists()
    assert output.is_whole()


def test_rows_of_several_videos_come_in_turns(output: Output) -> None:
    writer = parts(output)
    put(writer, "a", 1)
    put(writer, "b", 2)
    put(writer, "a", 3, at=3)
    writer.finish("b", [], "pyav")
    writer.finish("a", [], "decord")
    writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        np.testing.assert_array_equal(file["a"][:, 0], [1, 1, 1, 3, 3, 3])
        assert list(file.ids[:6]) == [f"a_{i}" for i in range(6)]
        assert list(file.decoders) == ["decord", "pyav"]


def test_a_video_that_starts_over_loses_its_first_rows(output: Output) -> None:
    writer = parts(output)
    put(writer, "a", 1, count=7)
    finish(writer, "a", 2)
    writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        np.testing.assert_array_equal(file["a"], np.full((3, 4), 2))


def test_only_finished_videos_are_committed(output: Output) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    put(writer, "b", 2)
    writer.close()
    assert output.done() == {"a"}


def test_a_part_is_committed_when_enough_is_waiting(output: Output) -> None:
    writer = parts(output, commit_mb=50 / (1 << 20))
    finish(writer, "a", 1)
    assert output.done() == {"a"}
    finish(writer, "b", 2)
    assert output.done() == {"a", "b"}


def test_a_long_video_waits_on_the_disk(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.outputs.output_folder.SPOOL_BYTES", 1000)
    monkeypatch.setattr("vfx.outputs.output_folder.BLOCK_ROWS", 10)
    writer = parts(output)
    for at in range(0, 300, 3):
        put(writer, "a", at, at=at)
    writer.finish("a", [], "pyav")
    writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(300) // 3 * 3)


def test_a_video_committed_twice_counts_once(output: Output) -> None:
    for _ in range(2):
        writer = parts(output)
        finish(writer, "a", 1)
        writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert file.features.shape == (3, 4)


def test_failures_are_done_and_kept(output: Output) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    writer.finish("bad", [Failure("bad", "open", "no such codec")], "")
    writer.commit()
    assert output.done() == {"a", "bad"}
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file) == ["a"]
        assert file.failures == [Failure("bad", "open", "no such codec")]
    assert output.done() == {"a", "bad"}


@pytest.mark.parametrize(("dtype", "value"), [("float32", np.nan), ("float32", np.inf), ("float16", 1e6)])
def test_values_that_cannot_be_stored_fail_their_video(output: Output, dtype: str, value: float) -> None:
    writer = parts(output, dtype)
    finish(writer, "good", 1)
    put(writer, "bad", 1)
    put(writer, "bad", value, at=3)
    failures = writer.finish("bad", [], "pyav")
    assert [(f.id, f.stage) for f in failures] == [("bad", "network")]
    writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file) == ["good"]
        assert "NaN or infinity" in file.failures[0].error


def test_no_video_at_all_is_an_error(output: Output) -> None:
    writer = parts(output)
    writer.finish("bad", [Failure("bad", "open", "empty file")], "")
    writer.commit()
    with pytest.raises(ExtractionError, match=r"not one of 1 videos could be read.*bad: empty file"):
        output.assemble(ATTRIBUTES)
    assert not output.features.exists()


def test_how_frames_were_cut_is_compared_where_both_know() -> None:
    cut, other = {"frames": {"format": "jpg"}}, {"frames": {"format": "png"}}
    assert conflicts(cut, other) == ["frames.format: jpg there, png here"]
    assert conflicts(cut, {}) == conflicts({}, other) == []
    assert conflicts({"dtype": "float16"}, other) == ["dtype: float16 there, nothing here"]


def test_another_recipe_is_refused_with_what_differs(output: Output) -> None:
    other = {"model": {"name": "m"}, "sampler": {"name": "fps", "fps": 4}}
    with pytest.raises(OutputError, match=r"overwrite=true starts over(.|\n)*sampler\.fps: 2 there, 4 here"):
        output.prepare(other, overwrite=False)
    writer = parts(output)
    finish(writer, "a", 1)
    writer.commit()
    output.assemble(ATTRIBUTES)
    with pytest.raises(OutputError, match=r"sampler\.fps: 2 there, 4 here"):
        output.prepare(other, overwrite=False)
    output.prepare(other, overwrite=True)
    assert output.done() == set()


def test_new_videos_join_a_finished_file(output: Output) -> None:
    for video in ["b", "a"]:
        writer = parts(output)
        output.prepare(RECIPE, overwrite=False)
        finish(writer, video, ord(video))
        writer.commit()
        assert not output.is_whole()
        output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert [(v, file[v][0, 0]) for v in file] == [("a", 97), ("b", 98)]


def test_more_parts_than_files_may_be_open(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.outputs.output_folder.OPEN_FILES", 3)
    for n in range(20):
        writer = parts(output)
        finish(writer, f"v{n:02d}", n)
        finish(writer, f"w{n:02d}", n)
        writer.commit()
    before = len(list(Path("/proc/self/fd").iterdir()))
    output.assemble(ATTRIBUTES)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    with FeatureFile(output.features) as file:
        assert [file[f"w{n:02d}"][0, 0] for n in range(20)] == list(range(20))


def test_differences_name_leaves() -> None:
    assert differences({"a": {"b": 1, "c": [1, 2]}}, {"a": {"b": 1, "c": (1, 2)}}) == []
    assert differences({"a": {"b": 1}}, {"a": {"d": 2}}) == [
        "a.b: 1 there, nothing here",
        "a.d: nothing there, 2 here",
    ]


def test_old_videos_are_committed_while_a_long_one_is_read(output: Output) -> None:
    writer = PartWriter(output, shape=(4,), dtype="float32", attributes=ATTRIBUTES, commit_mb=64, commit_seconds=0.2)
    finish(writer, "a", 1)
    time.sleep(0.3)
    put(writer, "long", 2)
    assert output.done() == {"a"}
    writer.close()


def test_the_first_error_of_a_commit_is_the_one_that_is_seen(output: Output) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    shutil.rmtree(output.parts)
    with pytest.raises(OutputError, match=r"part-.*\.h5 could not be written: its folder is gone"):
        writer.commit()
    writer.close()  # as the run does on its way out: nothing more to say


@pytest.mark.dear
def test_parts_are_opened_one_after_the_other(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.outputs.output_folder.OPEN_FILES", 5)
    for n in range(60):
        writer = parts(output)
        finish(writer, f"v{n:02d}", n)
        writer.commit()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    fillers = [os.dup(0)]
    while fillers[-1] < in_use:  # none below is free
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 20, limits[1]))
    try:
        output.assemble(ATTRIBUTES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)
    with FeatureFile(output.features) as file:
        assert len(file) == 60


def test_a_second_run_is_told_of_the_first(output: Output) -> None:
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


def test_a_run_that_starts_over_leaves_no_part_without_its_recipe(output: Output) -> None:
    writer = parts(output)
    finish(writer, "a", 1)
    writer.commit()
    left = output.folder / ".given-up.0123abcd"  # as by a run killed while it removed them
    output.parts.rename(left)
    with output.locked():
        assert not left.exists()
        output.prepare({"model": {"name": "other"}}, overwrite=False)
        assert output.done() == set()


def test_a_recipe_that_cannot_be_read_is_no_recipe(output: Output) -> None:
    (output.parts / "recipe.json").write_text("{")
    with pytest.raises(OutputError, match=r"recipe\.json does not tell how it was made; overwrite=true starts over"):
        output.prepare(RECIPE, overwrite=False)
    output.prepare(RECIPE, overwrite=True)


@pytest.mark.parametrize("damage", ["empty", "cut", "scribbled", "flipped"])
def test_a_damaged_part_is_set_aside_and_its_videos_read_again(
    output: Output, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vfx"), "propagate", True)
    for video in "ab":
        writer = parts(output)
        finish(writer, video, ord(video))
        writer.commit()
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
    writer = parts(output)
    finish(writer, "a", 97)
    writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert {video: file[video].tolist() for video in file} == {"a": [[97] * 4] * 3, "b": [[98] * 4] * 3}


def test_a_part_that_is_damaged_when_parts_are_merged_ends_the_run_and_not_the_next(output: Output) -> None:
    for video in "ab":
        writer = parts(output)
        finish(writer, video, ord(video))
        writer.commit()
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
    writer = parts(output)
    finish(writer, "a", 97)
    writer.commit()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert [file[video][0, 0] for video in file] == [97, 98]


# Videos that are read in pieces


def put_piece(
    writer: PartWriter, video: str, chunk: Chunk, values: range, failures: list[Failure] | None = None
) -> None:
    """A piece whose rows are at these indices and have them for values."""
    writer.start(video, chunk)
    for i in values:
        writer.append(video, np.full((1, 4), i, np.float32), np.array([i]), np.array([i / 2]), chunk)
    writer.finish(video, failures or [], "pyav", chunk)


def put_whole(writer: PartWriter, video: str, values: range, failures: list[Failure] | None = None) -> None:
    index = np.array(values)
    writer.start(video)
    writer.append(video, np.repeat(index[:, None], 4, axis=1).astype(np.float32), index, index / 2)
    writer.finish(video, failures or [], "pyav")


def held(output: Output) -> dict[str, str]:
    """The digests of all columns of the finished file."""
    with FeatureFile(output.features) as file:
        found = json.loads(file.attributes["digests"])
    del found[checksums.ATTRIBUTES]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_pieces_make_the_file_that_whole_videos_make(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    short = [Failure("b", "decode", "file holds 90 of the 99 frames that its header promises")]
    whole, divided = Output(tmp_path / "whole"), Output(tmp_path / "divided")
    for output in (whole, divided):
        output.prepare(RECIPE, overwrite=False)
    writer = parts(whole)
    for video in "abc":
        put_whole(writer, video, range(90), short if video == "b" else None)
    writer.commit()
    whole.assemble(ATTRIBUTES)
    writers = [parts(divided) for _ in range(3)]
    cuts = [0, *sorted(rng.randrange(90) for _ in range(6)), 90]  # a piece may have no row
    tasks = [("b", Chunk(n, n + 1, 7)) for n in range(7)] + [("a", Chunk(5 * n, 5 * n + 5, 10)) for n in range(2)]
    for video, chunk in rng.sample(tasks, len(tasks)):
        writer = rng.choice(writers)
        if video == "b":
            put_piece(writer, video, chunk, range(cuts[chunk.begin], cuts[chunk.end]), short)
        else:
            put_piece(writer, video, chunk, range(9 * chunk.begin, 9 * chunk.end))
        if rng.random() < 0.3:
            rng.choice(writers).commit()
    put_whole(writers[0], "c", range(90))
    for writer in writers:
        writer.close()
    assert divided.done() == {"a", "b", "c"}
    assert divided.chunks() == set()
    divided.assemble(ATTRIBUTES)
    assert held(divided) == held(whole)
    with FeatureFile(divided.features) as file:
        assert file.provenance["decoders"] == {"pyav": 3}
        assert file.failures == short


def test_a_video_is_done_with_its_last_piece(output: Output) -> None:
    committed: set[tuple[str, Chunk]] = set()
    for n in (2, 0, 1):
        assert output.done() == set()
        assert output.chunks() == committed
        writer = parts(output)
        put_piece(writer, "a", Chunk(n, n + 1, 3), range(3 * n, 3 * n + 3))
        writer.close()
        committed.add(("a", Chunk(n, n + 1, 3)))
    assert output.done() == {"a"}
    assert output.chunks() == set()
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(9))


def test_pieces_that_overlap_give_each_row_once(output: Output) -> None:
    """As where a damaged part was set aside, or one of several features is behind."""
    reach = 0
    for begin, end in [(0, 2), (1, 4), (1, 2), (3, 6)]:
        assert output.done() == set()
        assert output.chunks() == {("a", Chunk(n, n + 1, 6)) for n in range(reach)}
        writer = parts(output)
        put_piece(writer, "a", Chunk(begin, end, 6), range(3 * begin, 3 * end))
        writer.close()
        reach = max(reach, end)
    assert output.done() == {"a"}
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file.ids) == [f"a_{i}" for i in range(18)]
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(18))


def test_pieces_of_two_divisions_are_not_mixed(output: Output) -> None:
    writer = parts(output)
    put_piece(writer, "a", Chunk(0, 1, 2), range(5))
    put_piece(writer, "a", Chunk(1, 2, 3), range(3, 6))
    writer.close()
    assert output.done() == set()
    writer = parts(output)
    put_piece(writer, "a", Chunk(1, 2, 2), range(5, 9))
    writer.close()
    assert output.done() == {"a"}
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(9))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_the_whole_video_is_believed_rather_than_its_pieces(output: Output, late: bool, together: bool) -> None:
    damaged = [Failure("a", "decode", "8 of 9 frames could be decoded: Invalid data found")]

    def whole(writer: PartWriter) -> None:
        put_whole(writer, "a", range(1, 9), damaged)
        put_whole(writer, "b", range(0), [Failure("b", "decode", "decoder crashed (SIGSEGV)")])

    def chunks(writer: PartWriter) -> None:
        for video in "ab":
            for n in range(3):
                put_piece(writer, video, Chunk(n, n + 1, 3), range(3 * n, 3 * n + 3))

    writer = parts(output)
    for act in (chunks, whole) if late else (whole, chunks):
        act(writer)
        if not together:
            writer.commit()
    writer.close()
    assert output.done() == {"a", "b"}
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file) == ["a"]
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(1, 9))
        assert file.failures == [*damaged, Failure("b", "decode", "decoder crashed (SIGSEGV)")]


def test_reading_a_video_whole_voids_what_is_being_read_of_its_pieces(output: Output) -> None:
    writer = parts(output)
    writer.start("a", Chunk(0, 1, 2))
    writer.append("a", np.zeros((1, 4), np.float32), np.array([0]), np.array([0.0]), Chunk(0, 1, 2))
    put_piece(writer, "a", Chunk(1, 2, 2), range(5, 9))
    put_whole(writer, "a", range(9))
    writer.close()
    (part,) = output.parts.glob("part-*.h5")
    with FeatureFile(part) as file:
        assert file.failures == []
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(9))


def test_values_that_cannot_be_stored_in_one_piece_fail_the_video(output: Output) -> None:
    writer = parts(output)
    put_piece(writer, "a", Chunk(0, 1, 2), range(3))
    writer.append("a", np.full((1, 4), np.nan, np.float32), np.array([3]), np.array([1.5]), Chunk(1, 2, 2))
    assert [f.stage for f in writer.finish("a", [], "pyav", Chunk(1, 2, 2))] == ["network"]
    put_whole(writer, "b", range(2))
    writer.close()
    assert output.done() == {"a", "b"}
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file) == ["b"]
        assert [(f.id, f.stage) for f in file.failures] == [("a", "network")]


def test_a_part_with_pieces_is_a_feature_file_that_says_so(output: Output) -> None:
    writer = parts(output)
    put_piece(writer, "a", Chunk(2, 3, 3), range(6, 9))
    writer.close()
    (part,) = output.parts.glob("part-*.h5")
    with FeatureFile(part) as file:
        assert list(file.ids) == ["a_6", "a_7", "a_8"]
        assert file.failures == [Failure("a", "piece", "3-3 of 3")]
    assert [f for _, f in integrity.survey([part])] == []


def test_a_damaged_piece_is_read_again_and_no_other(output: Output) -> None:
    for n in range(3):
        writer = parts(output)
        put_piece(writer, "a", Chunk(n, n + 1, 3), range(3 * n, 3 * n + 3))
        writer.close()
    assert output.done() == {"a"}
    second = next(p for p in output.parts.glob("part-*") if FeatureFile(p).failures[0].error == "2-2 of 3")
    second.write_bytes(second.read_bytes()[:-1000])
    output.prepare(RECIPE, overwrite=False)
    assert output.done() == set()
    assert output.chunks() == {("a", Chunk(0, 1, 3)), ("a", Chunk(2, 3, 3))}


def test_more_pieces_than_files_may_be_open(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.outputs.output_folder.OPEN_FILES", 3)
    writer = parts(output)
    for n in range(20):
        put_piece(writer, "a", Chunk(n, n + 1, 20), range(3 * n, 3 * n + 3))
    writer.close()
    assert len(list(output.parts.glob("part-*.h5"))) == 20
    before = len(list(Path("/proc/self/fd").iterdir()))
    output.assemble(ATTRIBUTES)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    with FeatureFile(output.features) as file:
        np.testing.assert_array_equal(file["a"][:, 0], np.arange(60))


def test_pieces_that_are_left_of_a_video_that_is_gone_are_in_nobodys_way(output: Output) -> None:
    writer = parts(output)
    put_piece(writer, "a", Chunk(0, 1, 2), range(3), [Failure("a", "decode", "file holds 3 of the 4 frames")])
    put_whole(writer, "b", range(2))
    writer.close()
    assert output.done() == {"b"}
    output.assemble(ATTRIBUTES)
    with FeatureFile(output.features) as file:
        assert list(file) == ["b"]
        assert file.failures == []
