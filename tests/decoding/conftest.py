"""Clips that are made once for all tests of decoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.clips import CLIPS
from vfx.decoding import check_decoder
from vfx.errors import UsageError

MakeClip = Callable[[str], Path]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """The path of a clip of `CLIPS`, by name."""
    folder = tmp_path_factory.mktemp("clips")
    return cache(lambda name: CLIPS[name].write(folder))


def skip_unless_installed(decoder: str) -> None:
    try:
        check_decoder(decoder)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=["pyav", "decord", "torchcodec"])
def decoder(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    skip_unless_installed(request.param)
    return request.param
