"""Weights as the authors of a network publish them: their URL, licence and hash, and how to fetch them."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath

import torch

from vfx.errors import WeightsError
from vfx.system.files import sha256


def cache_path(filename: str) -> Path:
    """Where torch.hub caches the file of that name."""
    return Path(torch.hub.get_dir()) / "checkpoints" / filename


@dataclass(frozen=True)
class Published:
    """Published weights.

    Args:
        url: What a person would fetch.
        licence: Under which they are published.
        path: The file on this machine, once it is fetched.
        fetch: Fetches the file, and returns where it lies; raises WeightsError.
        sha256: The first digits of its hash, as far as known.
    """

    url: str
    licence: str
    path: Path
    fetch: Callable[[Published], Path]
    sha256: str = ""

    @classmethod
    def at(cls, url: str, *, licence: str) -> Published:
        """Weights at a URL. A name like `resnet50-0676ba61.pth` holds the first digits of their hash."""
        filename = PurePosixPath(url).name
        known = re.search(r"-([0-9a-f]{8,64})\.\w+$", filename)
        return cls(url, licence, cache_path(filename), download, sha256=known.group(1) if known else "")

    def unreachable(self, error: object) -> WeightsError:
        """The error that says what could not be fetched, and how to do without."""
        return WeightsError(
            f"cannot fetch {self.url} ({error}). Fetch it where there is a network and put it at {self.path}, "
            f"or give the file: model.weights=<file>"
        )

    def wrong_hash(self, path: Path, digest: str, *, fetched: bool) -> WeightsError:
        """The error that says that a file is another one. A file that was `fetched` by vfx is moved aside first."""
        wrong = f"is damaged or not what its name says: its sha256 begins {digest[:8]}, not {self.sha256}"
        aside = self.path.with_name(f"{self.path.name}.refused")
        if fetched:
            with suppress(OSError):
                path.replace(aside)
                return WeightsError(
                    f"{self.path} {wrong}. It lies in {aside} now; run again to fetch it from {self.url}"
                )
        return WeightsError(f"{path} {wrong}. Delete it, and it is fetched again from {self.url}")


def download(published: Published) -> Path:
    """Fetch a URL into torch.hub's cache.

    A failed download leaves no file. One of another hash is kept under another name.

    Raises:
        WeightsError: Where it cannot be fetched, or has another hash.
    """
    fetched = published.path.with_name(f".{published.path.name}.{uuid.uuid4().hex[:8]}")
    try:
        published.path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(published.url, str(fetched), progress=sys.stderr.isatty())
        digest = sha256(fetched)
        if not digest.startswith(published.sha256):
            raise published.wrong_hash(fetched, digest, fetched=True)
        fetched.replace(published.path)
    except (OSError, HTTPException) as error:
        raise published.unreachable(error) from error
    finally:
        fetched.unlink(missing_ok=True)
    return published.path
