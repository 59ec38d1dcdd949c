"""Paths into JSON documents."""

from __future__ import annotations

import json

import pytest
from ansible_collections.linda.ops.plugins.module_utils._checks_jsonpath import MissingPath, lookup, parse_path, same
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("$", ()),
        ("status", ("status",)),
        ("$.status", ("status",)),
        ("a.b.c", ("a", "b", "c")),
        ("a[0].b", ("a", 0, "b")),
        ("$[1][-2]", (1, -2)),
        ("[0]", (0,)),
        ('$["odd.key"].x', ("odd.key", "x")),
        ('a["q\\"uote"]', ("a", 'q"uote')),
        ("x-y_z", ("x-y_z",)),
    ],
)
def test_paths(path: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(path) == steps


@pytest.mark.parametrize(
    "path", ["", "a..b", "a.", ".a", "$a", "a[", "a[x]", "a[0", "a[1.5]", 'a["x]', "a b", "$..a", "a]b", 'a"b', "a[*]"]
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        parse_path(path)


@pytest.mark.parametrize("path", ["b", "a[3]", "a[-4]", "a.x", "s[0]", "s.x", 'a["0"]'])
def test_what_is_not_there(path: str) -> None:
    with pytest.raises(MissingPath):
        lookup({"a": [1, 2, 3], "s": "text"}, path)


def test_null_is_there() -> None:
    assert lookup({"a": None}, "a") is None


KEYS = st.text(max_size=5)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS, st.data())
def test_every_value_has_a_path(document: object, data: st.DataObject) -> None:
    path, value = "$", document
    while isinstance(value, (dict, list)) and value and data.draw(st.booleans()):
        if isinstance(value, dict):
            key = data.draw(st.sampled_from(sorted(value)))
            path, value = f"{path}[{json.dumps(key)}]", value[key]
        else:
            index = data.draw(st.integers(-len(value), len(value) - 1))
            path, value = f"{path}[{index}]", value[index]
    assert lookup(document, path) is value
    assert same(lookup(json.loads(json.dumps(document)), path), value)


@given(DOCUMENTS, DOCUMENTS)
def test_same_is_equality_of_json(one: object, other: object) -> None:
    assert same(one, one)
    assert same(one, other) == same(other, one)
    if json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert same(one, other)
    if same(one, other):
        assert one == other


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (False, 0), ([True], [1]), ({"a": False}, {"a": 0}), ([1], [1, 1]), ("1", 1), (None, 0)]
)
def test_what_is_not_the_same(one: object, other: object) -> None:
    assert not same(one, other)
