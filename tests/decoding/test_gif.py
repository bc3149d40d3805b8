"""A picture of a GIF that is cut short, or runs out in zeros, is told from a whole one."""

from __future__ import annotations

import av
import pytest

from tests.decoding.conftest import MakeClip
from vfx.decoding.gif import is_whole


@pytest.fixture
def packets(clip: MakeClip) -> list[bytes]:
    with av.open(str(clip("gif.gif"))) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def test_every_picture_of_a_sound_file_is_whole(packets: list[bytes]) -> None:
    assert all(is_whole(packet) for packet in packets)
    assert is_whole(packets[3] + b"\0")
    assert is_whole(packets[3] + b";what some tool has left behind the end")


def test_no_part_is_whole(packets: list[bytes]) -> None:
    packet = packets[3]
    assert not any(is_whole(packet[:length]) for length in range(len(packet) - 1))


def test_a_picture_that_goes_on_in_zeros_is_not_whole(packets: list[bytes]) -> None:
    packet = packets[3]
    half = len(packet) // 2
    assert not is_whole(packet[:half] + bytes(1000))
    assert not is_whole(bytes(1000))
