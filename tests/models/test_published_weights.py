"""Published weights are fetched once, checked by their hash, and kept, or the error says what to do."""

from __future__ import annotations

import hashlib
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.conftest import same, toy
from vfx.errors import WeightsError
from vfx.models.published_weights import Published
from vfx.models.weights import read

UNREACHABLE = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder, and the URL that a server on this machine gives it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def publish(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """Weights under a name that carries their hash."""
    state = toy().state_dict()
    torch.save(state, folder / "w.pth")
    name = f"toy-{hashlib.sha256((folder / 'w.pth').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "w.pth").rename(folder / name)
    return name, state


def test_published_weights_are_fetched_once_checked_and_kept(
    served: tuple[str, Path], hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url, folder = served
    name, state = publish(folder)
    published = Published.at(f"{url}/{name}", licence="CC-BY-NC-4.0")
    with caplog.at_level(logging.INFO, logger="vfx"):
        fetched, weights = read("pretrained", published)
    assert same(fetched, state)
    assert weights.source == published.url and weights.licence == "CC-BY-NC-4.0"
    assert weights.sha256 and weights.sha256.startswith(published.sha256)
    assert [path.name for path in hub.iterdir()] == [name]
    (restricted,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert restricted.getMessage() == f"weights: {published.url} (licence: CC-BY-NC-4.0)"
    (folder / name).unlink()
    assert same(read("pretrained", published)[0], state), "the second time, nothing is fetched"


def test_the_published_file_given_by_path_keeps_its_licence(tmp_path: Path, hub: Path) -> None:
    name, _ = publish(tmp_path)
    other = (tmp_path / name).rename(tmp_path / "mine.pth")
    published = Published.at(f"{UNREACHABLE}/{name}", licence="CC-BY-NC-4.0")
    assert read(str(other), published)[1].licence == "CC-BY-NC-4.0"
    torch.save(toy().state_dict(), other)
    assert read(str(other), published)[1].licence == "unknown (a local file)"


def test_a_download_of_the_wrong_hash_is_set_aside_and_a_good_one_taken_later(
    served: tuple[str, Path], hub: Path
) -> None:
    url, folder = served
    name, state = publish(folder)
    good = (folder / name).read_bytes()
    (folder / name).write_bytes(b"<html>Please log in</html>")
    published = Published.at(f"{url}/{name}", licence="MIT")
    with pytest.raises(WeightsError) as error:
        read("pretrained", published)
    assert str(error.value) == (
        f"{hub / name} is damaged or not what its name says: its sha256 begins "
        f"{hashlib.sha256(b'<html>Please log in</html>').hexdigest()[:8]}, not {published.sha256}. "
        f"It lies in {hub / name}.refused now; run again to fetch it from {url}/{name}"
    )
    assert [path.name for path in hub.iterdir()] == [f"{name}.refused"]
    assert (hub / f"{name}.refused").read_bytes() == b"<html>Please log in</html>"
    (folder / name).write_bytes(good)
    assert same(read("pretrained", published)[0], state)
    assert sorted(path.name for path in hub.iterdir()) == [name, f"{name}.refused"]


def test_a_cached_file_of_the_wrong_hash_is_set_aside_but_not_one_that_was_given(hub: Path) -> None:
    hub.mkdir(parents=True)
    path = hub / "toy-00000000.pth"
    torch.save(toy().state_dict(), path)
    published = Published.at(f"{UNREACHABLE}/toy-00000000.pth", licence="MIT")
    wrong = (
        f"{path} is damaged or not what its name says: its sha256 begins "
        f"{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}, not 00000000. "
    )
    with pytest.raises(WeightsError) as error:
        read(str(path), published)
    assert str(error.value) == wrong + f"Delete it, and it is fetched again from {published.url}"
    assert path.exists()
    with pytest.raises(WeightsError) as error:
        read("pretrained", published)
    assert str(error.value) == wrong + f"It lies in {path}.refused now; run again to fetch it from {published.url}"
    assert [path.name for path in hub.iterdir()] == ["toy-00000000.pth.refused"]


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(hub: Path) -> None:
    published = Published.at(f"{UNREACHABLE}/toy-00000000.pth", licence="MIT")
    with pytest.raises(WeightsError) as error:
        read("pretrained", published)
    text = str(error.value)
    assert text.startswith(f"cannot fetch {UNREACHABLE}/toy-00000000.pth (<urlopen error ")
    assert text.endswith(f"put it at {hub}/toy-00000000.pth, or give the file: model.weights=<file>")
    assert not list(hub.iterdir())
