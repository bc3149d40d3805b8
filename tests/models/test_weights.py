"""Weights are found, checked, read without running code, and fitted, or the error says why not."""

from __future__ import annotations

import argparse
import hashlib
import http.server
import logging
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vfx.errors import WeightsError
from vfx.models.network import Weights
from vfx.models.weights import RANDOM, Published, construct, download, fit, load, read

UNREACHABLE = "http://127.0.0.1:9"  # the discard port: nothing listens there


def toy() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 10))


def drawn(weights: str) -> nn.Sequential:
    return construct(toy, weights)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = drawn("random"), drawn("random")
    assert same(first.state_dict(), second.state_dict())
    assert torch.equal(before, torch.get_rng_state())
    assert load(first, "random", None, head="3") == RANDOM == Weights("random (seed 0)", "none", None)


class Computing(nn.Linear):
    """A network that reads a tensor while it is built, as torchvision's RegNet does."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.sum = torch.arange(3).sum().item()


class Table(nn.Linear):
    """A network with a tensor that its state_dict does not hold."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_buffer("table", torch.arange(3), persistent=False)


class Attribute(nn.Linear):
    """A network with a tensor of which torch does not know."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.table = torch.arange(3)


@pytest.mark.parametrize(("build", "device"), [(toy, "meta"), (Computing, "cpu"), (Table, "cpu"), (Attribute, "cpu")])
def test_values_that_a_file_will_replace_are_not_drawn_and_others_are_kept(build: type, device: str) -> None:
    network = construct(build, "w.pth")
    assert {parameter.device.type for parameter in network.parameters()} == {device}
    if hasattr(network, "table"):
        assert network.table.tolist() == [0, 1, 2]


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("wrap", ["bare", "state_dict", "model", "prefixed", "average"])
def test_weights_are_read_from_every_form_and_wrapping(tmp_path: Path, form: str, wrap: str) -> None:
    state = toy().state_dict()
    prefixed = {f"module.{key}": tensor for key, tensor in state.items()}
    if form == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(prefixed if wrap == "prefixed" else state, path)
    else:
        path = tmp_path / "w.pth"
        checkpoint = {
            "bare": state,
            "state_dict": {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
            "model": {"model": prefixed, "optimizer": {}},
            "prefixed": prefixed,
            "average": {"state_dict": {}, "model_ema": state},
        }[wrap]
        torch.save(checkpoint, path, _use_new_zipfile_serialization=form == "zip")
    network = drawn(str(path))
    loaded = load(network, str(path), None, head="3")
    assert same(network.state_dict(), state)
    assert loaded == Weights(str(path), "unknown (a local file)", hashlib.sha256(path.read_bytes()).hexdigest())


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    state = toy().half().state_dict()
    torch.save(state, tmp_path / "half.pt")
    network = drawn("half")
    load(network, str(tmp_path / "half.pt"), None, head="3")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network[0].weight, state["0.weight"].float())


def test_checkpoints_older_than_num_batches_tracked_fit() -> None:
    state = {k: v for k, v in toy().state_dict().items() if "num_batches" not in k}
    network = drawn("old")
    fit(network, state, origin="old.pth", head="3")
    assert torch.equal(network[0].weight, state["0.weight"])


def test_a_file_that_is_not_there_is_named_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        read(str(tmp_path / "none.pth"), None)
    assert str(error.value) == (
        f"model.weights ({tmp_path}/none.pth) must be `pretrained`, `random` or a file; "
        f"there is no file {tmp_path}/none.pth"
    )


def test_a_network_without_published_weights_asks_for_a_file() -> None:
    with pytest.raises(WeightsError, match="no pretrained weights of this network are published; give a file"):
        read("pretrained", None)


def test_tensors_that_do_not_fit_are_listed() -> None:
    state = toy().state_dict()
    del state["0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["1.weight"] = torch.zeros(7)
    with pytest.raises(WeightsError) as error:
        fit(toy(), state, origin="w.pth", head="3")
    assert str(error.value) == (
        "w.pth does not fit the network: missing 0.bias; unexpected extra.weight; 1.weight is [7], must be [4];"
        " give the model that it is of (model=..., model.name=...), or its own weights"
    )


def test_only_the_first_few_misfits_are_listed() -> None:
    with pytest.raises(WeightsError, match=r"missing 0\.weight; .*; and 3 more; give"):
        fit(toy(), {"a": torch.zeros(1)}, origin="w.pth", head="3")


@pytest.mark.parametrize("classes", [None, 7])
def test_a_missing_or_other_classifier_is_left_out_and_said(
    classes: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    state = toy().state_dict()
    del state["3.weight"], state["3.bias"]
    if classes:
        state |= {"3.weight": torch.zeros(classes, 16), "3.bias": torch.zeros(classes)}
    network = drawn("w.pth")
    fit(network, state, origin="w.pth", head="3")
    assert isinstance(network[3], nn.Identity)
    assert torch.equal(network[0].weight, state["0.weight"])
    assert "w.pth has no classifier that fits; features do not need it" in caplog.text


class Payload:
    """Unpickled by a reader that runs code, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("legacy", [True, False])
def test_weights_that_need_code_are_refused_and_no_code_is_run(tmp_path: Path, legacy: bool) -> None:
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    torch.save({"w": torch.zeros(1), "x": Payload(proof)}, path, _use_new_zipfile_serialization=not legacy)
    for weights, published in [(str(path), None), ("pretrained", Published("http://x", "MIT", path, download))]:
        with pytest.raises(WeightsError) as error:
            read(weights, published)
    assert not proof.exists()
    assert str(error.value).startswith(f"{path} is refused: to read it, code would have to run (")
    assert str(error.value).endswith("None was run. Save the network's state_dict() alone, or as .safetensors")
    torch.load(path, weights_only=False)
    assert proof.exists(), "the payload is a real one"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04 cut short", pickle.dumps([1, 2], protocol=2)]
)
def test_files_that_are_no_weights_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.\w+ (cannot be read as weights|holds no table of named)"):
        read(str(path), None)


def test_weights_cut_short_are_named(tmp_path: Path) -> None:
    for legacy in (True, False):
        path = tmp_path / "w.pth"
        torch.save(toy().state_dict(), path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(WeightsError, match="cannot be read as weights, and may be damaged or cut short"):
            read(str(path), None)


def test_what_is_no_table_of_tensors_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth holds no table of named tensors \(a state_dict\)"):
        read(str(tmp_path / "w.pth"), None)


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
