"""No file that is called a video makes a decoder open another file, or speak to another machine."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.clips import CLIPS, read
from tests.decoding.conftest import MakeClip
from vfx.decoding import VideoReader
from vfx.decoding.file_signature import check_signature
from vfx.decoding.video_reader import BACKENDS
from vfx.errors import UsageError, VideoError
from vfx.sampling import samplers

LATE = 30_000  # milliseconds: the frames of the file that is named say so, all others are earlier
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"'
    ' profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\na=control:{}\n"
)
SCRIPTS = {
    "hls.mp4": HLS,
    "hls.ts": HLS,
    "list.mkv": "{}\n",
    "concat.avi": "ffconcat version 1.0\nfile '{}'\n",
    "session.mp4": SDP,
    "quicktime.mov": "RTSPtext\n{}\n",
    "dash.mp4": DASH,
    "windows.wmv": '<ASX version="3.0"><ENTRY><REF HREF="{}"/></ENTRY></ASX>',
    "reference.wmv": "[Reference]\r\nRef1={}\r\n",
}


class Listener:
    """Listens on `port` of this machine."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.port = server.getsockname()[1]

    def was_called(self) -> bool:
        try:
            self._server.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield Listener(server)


def frames_of(path: Path, decoder: str) -> list[int]:
    """The milliseconds that are painted on what a reading of a file delivers."""
    return [read(frame.pixels)[1] for frame in VideoReader(path, samplers.all_frames, decoder=decoder)]


@pytest.mark.parametrize("scheme", ["", "file:", "http", "rtsp", "tcp", "udp"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_opens_nothing(
    name: str, scheme: str, decoder: str, clip: MakeClip, tmp_path: Path, listener: Listener
) -> None:
    path = tmp_path / name
    local = f"{scheme}{clip('h264_late.ts')}"
    remote = f"{scheme}://127.0.0.1:{listener.port}/x.ts"
    path.write_text(SCRIPTS[name].format(local if scheme in ("", "file:") else remote))
    reading = VideoReader(path, samplers.all_frames, decoder=decoder)
    assert (list(reading), reading.stage) == ([], "open")
    assert not listener.was_called()


def test_a_script_that_was_opened_freely_would_be_followed(clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "concat.avi"
    path.write_text(SCRIPTS["concat.avi"].format(clip("h264_late.ts")))
    with av.open(str(path), options={"safe": "0"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40


@pytest.mark.parametrize("script", [HLS, DASH])
@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.mpg"])
def test_a_script_that_goes_on_as_a_video_gives_that_video_alone(
    name: str, script: str, decoder: str, clip: MakeClip, tmp_path: Path
) -> None:
    """PyAV's FFmpeg takes it for a stream, those of decord and torchcodec for the playlist that it begins with."""
    path = tmp_path / name
    path.write_bytes(script.format(clip("h264_late.ts")).encode().ljust(188 * 4, b"#") + clip(name).read_bytes())
    found = frames_of(path, decoder)
    assert len(found) == 40
    assert max(found) < LATE
    with pytest.raises(VideoError, match="does not begin as a video does: PyAV alone may open it"):
        check_signature(path)


def test_decord_that_was_let_would_follow_it(clip: MakeClip, tmp_path: Path) -> None:
    try:
        decord = BACKENDS["decord"].load()
    except UsageError as error:
        pytest.skip(str(error))
    path = tmp_path / "h264.ts"
    path.write_bytes(HLS.format(clip("h264_late.ts")).encode().ljust(188, b"#") + clip("h264.ts").read_bytes())
    assert read(decord.VideoReader(str(path), num_threads=1).next().asnumpy())[1] >= LATE


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def alias(path: Path) -> bytes:
    """A Macintosh alias record, by which a QuickTime movie names the file that holds its frames."""
    name, full = path.name.encode(), os.fsencode(path)
    body = struct.pack(">HHB27s12x", 2, 0, 4, b"disk")
    body += struct.pack(">B63s16xhh16x", len(name), name, -1, -1)
    body += struct.pack(">hH", 2, len(full)) + full + b"\0" * (len(full) % 2) + struct.pack(">hH", -1, 0)
    return box(b"alis", b"\0" * 8 + struct.pack(">H", len(body) + 6) + body)


def naming(movie: bytes, entry: bytes) -> bytes:
    """A movie without its frames, whose data reference is `entry`."""
    out, at = b"", 0
    while at < len(movie):
        (size,) = struct.unpack(">I", movie[at : at + 4])
        kind, body = movie[at + 4 : at + 8], movie[at + 8 : at + size]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            body = naming(body, entry)
        elif kind == b"dref":
            body = struct.pack(">II", 0, 1) + entry
        out += b"" if kind == b"mdat" else box(kind, body)
        at += size
    return out


def test_a_movie_takes_no_frames_from_another_file(clip: MakeClip, decoder: str, tmp_path: Path) -> None:
    path = tmp_path / "movie.mp4"
    path.write_bytes(naming(clip("h264.mp4").read_bytes(), alias(clip("h264.mp4"))))
    assert frames_of(path, decoder) == []
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40, "the reference is a real one"


@pytest.mark.parametrize("scheme", ["http", "rtsp", "tcp"])
def test_a_movie_takes_no_frames_from_an_address(
    clip: MakeClip, decoder: str, scheme: str, tmp_path: Path, listener: Listener
) -> None:
    path = tmp_path / "movie.mov"
    url = f"{scheme}://127.0.0.1:{listener.port}/x.mp4".encode()
    path.write_bytes(naming(clip("h264.mp4").read_bytes(), box(b"url ", bytes(4) + url + b"\0")))
    assert frames_of(path, decoder) == []
    assert not listener.was_called()


def test_a_name_is_no_pattern_of_names(clip: MakeClip, decoder: str, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"x{i}.gif").write_bytes(clip("gif.gif").read_bytes())
    assert frames_of(tmp_path / "x%d.gif", decoder) == []
    for name, source in [("y%d.mp4", "h264.mp4"), ("x%d.gif", "gif.gif")]:
        (tmp_path / name).write_bytes(clip(source).read_bytes())
        assert len(frames_of(tmp_path / name, decoder)) == 40


def test_a_pipe_is_not_waited_for(decoder: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    reading = VideoReader(tmp_path / "pipe.mp4", samplers.all_frames, decoder=decoder)
    assert list(reading) == []
    assert (reading.stage, reading.problem) == ("open", "pipe.mp4 is not a file")


@pytest.mark.parametrize("name", CLIPS)
def test_videos_begin_as_videos_do(name: str, clip: MakeClip) -> None:
    check_signature(clip(name))
