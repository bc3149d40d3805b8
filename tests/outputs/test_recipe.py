"""Recipes: in what two of them differ."""

from vfx.outputs.recipe import conflicts, differences


def test_how_frames_were_cut_is_compared_where_both_know() -> None:
    cut, other = {"frames": {"format": "jpg"}}, {"frames": {"format": "png"}}
    assert list(map(str, conflicts(cut, other))) == ["frames.format: jpg there, png here"]
    assert conflicts(cut, {}) == conflicts({}, other) == []
    assert conflicts({"dtype": "float16"}, other) == [("dtype", "float16", "nothing")]


def test_differences_name_leaves() -> None:
    assert differences({"a": {"b": 1, "c": [1, 2]}}, {"a": {"b": 1, "c": (1, 2)}}) == []
    assert differences({"a": {"b": 1}}, {"a": {"d": 2}}) == [("a.b", 1, "nothing"), ("a.d", "nothing", 2)]
