"""List files are what the lineage's tools read."""

from __future__ import annotations

from pathlib import Path

from vfx.collection.collection import Collection
from vfx.cutting.list_files import write_lists


def test_image_sets_are_sorted_where_one_id_begins_another(tmp_path: Path) -> None:
    ids = [f"{video}_{i}" for video in ["a", "a-1", "a_1", "a_1_1", "ab", "B", "é"] for i in (0, 2, 10, 100)]
    for id in ids:
        path = tmp_path / "ImageData" / id.rpartition("_")[0] / f"{id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_lists(Collection("c", tmp_path), [], {})
    assert (tmp_path / "ImageSets" / "c.txt").read_text().splitlines() == sorted(ids)
