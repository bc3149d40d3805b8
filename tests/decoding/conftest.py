"""Clips that are made once for all tests of decoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.clips import CLIPS


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a clip of `CLIPS`, by name."""
    folder = tmp_path_factory.mktemp("clips")
    return cache(lambda name: CLIPS[name].write(folder))


@pytest.fixture(scope="session", params=["pyav", "decord", "torchcodec"])
def decoder(request: pytest.FixtureRequest) -> str:
    """Each backend in turn; one that is not installed is skipped, with its own message for a reason."""
    from vfx.decoding.video_reader import BACKENDS
    from vfx.errors import UsageError

    try:
        BACKENDS[request.param].load()
    except UsageError as error:
        pytest.skip(str(error))
    return request.param
