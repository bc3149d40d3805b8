"""The table of how features were made."""

from vfx.reporting.provenance_table import licences, rows


def test_a_licence_that_is_not_known_is_not_left_out() -> None:
    known = {"licence": "MIT"}
    assert licences({"weights": known}) == ["MIT"]
    assert licences({"parts": {"a": known, "b": None, "c": known}}) == ["MIT", "not told"]
    assert licences({"weights": "none"}) == licences({}) == ["not told"]


def test_keys_of_all_features_stand_side_by_side() -> None:
    a, b = (
        {"sampler": {"name": "fps", "fps": 2}, "dtype": "float32"},
        {"sampler": {"name": "uniform"}, "dtype": "float32"},
    )
    assert rows([a, b, "no mapping"]) == [
        ("dtype", ["float32", "float32", ""], True),
        ("sampler.fps", ["2", "", ""], True),
        ("sampler.name", ["fps", "uniform", ""], True),
    ]
    assert rows([a, a])[0] == ("dtype", ["float32", "float32"], False)
