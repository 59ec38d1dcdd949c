"""Reading descriptions of indexes, and what the server lists, into one normal form."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.filter.mongodb_indexes_problem import mongodb_indexes_problem
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_plan import differences
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import (
    Index,
    filter_form,
    parse_collections,
    parse_flat,
    read_index,
)
from bson import Int64


def described(**index: Any) -> Index:
    (one,) = parse_collections([{"database": "d", "collection": "c", "indexes": [index]}])
    return one.wanted[0].index


FULL = {
    "locale": "en",
    "caseLevel": False,
    "caseFirst": "off",
    "strength": 2,
    "numericOrdering": False,
    "alternate": "non-ignorable",
    "maxVariable": "punct",
    "normalization": False,
    "backwards": False,
    "version": "57.1",
}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"keys": {"a": 1}}, {"key": {"a": 1.0}, "name": "a_1"}),
        ({"keys": {"a": -1.0}}, {"key": {"a": Int64(-1)}, "name": "a_-1"}),
        ({"keys": [{"a": 1}, {"b": -1}]}, {"key": {"a": 1, "b": -1}, "name": "a_1_b_-1"}),
        ({"keys": {"a": "hashed"}}, {"key": {"a": "hashed"}, "name": "a_hashed"}),
        ({"keys": {"a": 1}, "expire_after_seconds": 60.0}, {"key": {"a": 1}, "name": "a_1", "expireAfterSeconds": Int64(60)}),
        ({"keys": {"a": 1}, "collation": {"locale": "en", "strength": 2}}, {"key": {"a": 1}, "name": "a_1", "collation": FULL}),
        ({"keys": {"a": 1}, "collation": {"locale": "simple"}}, {"key": {"a": 1}, "name": "a_1"}),
        ({"keys": {"g": "2dsphere"}}, {"key": {"g": "2dsphere"}, "name": "g_2dsphere", "2dsphereIndexVersion": 3}),
        ({"keys": {"g": "2d"}, "bits": 26}, {"key": {"g": "2d"}, "name": "g_2d", "min": -180.0}),
        (
            {"keys": [{"k": 1}, {"t": "text"}, {"u": "text"}, {"z": -1}], "weights": {"u": 5.0}},
            {
                "key": {"k": 1, "_fts": "text", "_ftsx": 1, "z": -1},
                "name": "k_1_t_text_u_text_z_-1",
                "weights": {"u": 5, "t": 1},
                "default_language": "english",
                "language_override": "language",
                "textIndexVersion": 3,
            },
        ),
        (
            {"keys": {"$**": 1}, "wildcard_projection": {"a.b": 1, "c": True}},
            {"key": {"$**": 1}, "name": "$**_1", "wildcardProjection": {"c": 1, "a": {"b": True}}},
        ),
        (
            {"keys": {"$**": 1}, "wildcard_projection": {"a.b": 1}},
            {"key": {"$**": 1}, "name": "$**_1", "wildcardProjection": {"_id": False, "a.b": True}},
        ),
        (
            {"keys": {"a": 1}, "partial_filter_expression": {"x": {"$gt": 5.0}, "y": 1}},
            {"key": {"a": 1}, "name": "a_1", "partialFilterExpression": {"$and": [{"y": {"$eq": 1}}, {"x": {"$gt": Int64(5)}}]}},
        ),
        (
            {"keys": {"a": 1}, "partial_filter_expression": {"x": {"$type": ["string", "int"]}, "y": {"$exists": True}}},
            {"key": {"a": 1}, "name": "a_1", "partialFilterExpression": {"y": {"$exists": 1}, "x": {"$type": [16, 2]}}},
        ),
        ({"keys": {"a": 1}, "partial_filter_expression": {}}, {"key": {"a": 1}, "name": "a_1"}),
        ({"keys": {"a": 1}, "options": {"name": "n", "unique": True, "background": True}}, {"key": {"a": 1}, "name": "n", "unique": True}),
        ({"keys": {"a": 1}, "expireAfterSeconds": 5}, {"key": {"a": 1}, "name": "a_1", "expireAfterSeconds": 5.0}),
    ],
)
def test_both_sides_have_one_form(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    index = described(**ours)
    listed = read_index({"v": 2, **theirs})
    assert (index.name, differences(index, listed)) == (listed.name, [])


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ({"keys": [{"a": 1}, {"b": 1}]}, {"key": {"b": 1, "a": 1}}, ["keys"]),
        ({"keys": {"a": 1}}, {"key": {"a": -1}}, ["keys"]),
        ({"keys": {"a": 1}}, {"key": {"a": 1}, "unique": True}, ["unique"]),
        ({"keys": {"a": 1}, "unique": True}, {"key": {"a": 1}}, ["unique"]),
        ({"keys": {"a": 1}}, {"key": {"a": 1}, "prepareUnique": True}, ["prepare_unique"]),
        ({"keys": {"a": 1}}, {"key": {"a": 1}, "sparse": True}, ["sparse"]),
        ({"keys": {"a": 1}}, {"key": {"a": 1}, "hidden": True}, ["hidden"]),
        ({"keys": {"a": 1}}, {"key": {"a": 1}, "expireAfterSeconds": 9}, ["expire_after_seconds"]),
        ({"keys": {"a": 1}, "expire_after_seconds": 8}, {"key": {"a": 1}, "expireAfterSeconds": 9}, ["expire_after_seconds"]),
        ({"keys": {"a": 1}}, {"key": {"a": 1}, "collation": FULL}, ["collation"]),
        ({"keys": {"a": 1}, "collation": {"locale": "en"}}, {"key": {"a": 1}, "collation": FULL}, ["collation"]),
        (
            {"keys": {"a": 1}, "partial_filter_expression": {"x": {"$gt": 5}}},
            {"key": {"a": 1}, "partialFilterExpression": {"x": {"$gte": 5}}},
            ["partial_filter_expression"],
        ),
        ({"keys": {"$**": 1}}, {"key": {"$**": 1}, "wildcardProjection": {"a": 1}}, ["wildcardProjection"]),
        (
            {"keys": {"g": "2dsphere"}, "sphere_index_version": 2},
            {"key": {"g": "2dsphere"}, "2dsphereIndexVersion": 3},
            ["2dsphereIndexVersion"],
        ),
        ({"keys": {"g": "2d"}}, {"key": {"g": "2d"}, "bits": 20}, ["bits"]),
        (
            {"keys": {"t": "text"}, "default_language": "german"},
            {"key": {"_fts": "text", "_ftsx": 1}, "weights": {"t": 2}, "default_language": "english", "language_override": "lang"},
            ["default_language", "language_override", "weights"],
        ),
    ],
)
def test_every_difference_is_named(ours: dict[str, Any], theirs: dict[str, Any], names: list[str]) -> None:
    assert differences(described(**ours), read_index({"v": 2, "name": "x", **theirs})) == names


def test_values_in_filters_keep_their_order_and_type() -> None:
    assert filter_form({"a": {"x": 1, "y": 2}}) != filter_form({"a": {"y": 2, "x": 1}})
    assert filter_form({"a": 1}) != filter_form({"a": "1"})
    assert filter_form({"a": 1}) != filter_form({"a": True})
    assert filter_form({"a": {"$date": "2026-01-01T00:00:00Z"}}) != filter_form({"a": {"$gt": "2026-01-01T00:00:00Z"}})
    assert filter_form({"$or": [{"a": 1}, {"b": 2}]}) == filter_form({"$or": [{"b": {"$eq": 2.0}}, {"a": 1}]})
    assert filter_form({"a": {"$in": [2, 1.0]}}) == filter_form({"a": {"$in": [1, 2]}})


ONE = {"keys": [{"a": 1}]}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("bad_index", {**ONE, "uniqe": True}, "uniqe is not a known field here (did you mean unique?)"),
    (
        "bad_index",
        {**ONE, "options": {"expireAfterSecond": 5}},
        "expireAfterSecond is not a known field here (did you mean expire_after_seconds?)",
    ),
    ("bad_index", {"keys": {"a": 1, "b": -1}}, "keys is a mapping with 2 fields, and mappings have no order: write [{a: 1}, {b: -1}]"),
    ("bad_index", {"keys": [{"a": 1, "b": 1}]}, "keys[0] must be a mapping of one field"),
    ("bad_index", {"keys": "a"}, "keys must be a list of fields"),
    ("bad_index", {"keys": []}, "keys must be a list of fields"),
    ("bad_index", {"name": "x"}, "keys is missing"),
    ("bad_index", {"keys": [{"a": "1"}]}, "keys[0].a = '1' is none of 1, -1"),
    ("bad_index", {"keys": [{"a": 2}]}, "keys[0].a = 2 is none of 1, -1"),
    ("bad_index", {"keys": [{"a": "2dshpere"}]}, "(did you mean 2dsphere?)"),
    ("bad_index", {"keys": [{"a": 1}, {"a": -1}]}, "keys[1] = 'a' is listed twice"),
    ("bad_index", {"keys": [{"a..b": 1}]}, "keys[0] = 'a..b' is not the name of a field"),
    ("bad_index", {"keys": [{"$a": 1}]}, "keys[0] = '$a' is not the name of a field"),
    ("bad_index", {"keys": [{"a": 1}, {"b": 1}], "expire_after_seconds": 60}, "expire_after_seconds on a compound index"),
    ("bad_index", {"keys": [{"a": "hashed"}], "expire_after_seconds": 60}, "expire_after_seconds on a hashed index"),
    ("bad_index", {**ONE, "expire_after_seconds": -1}, "expire_after_seconds = -1 is not a whole number in 0.."),
    ("bad_index", {**ONE, "expire_after_seconds": "60"}, "expire_after_seconds = '60' is not a whole number"),
    ("bad_index", {"keys": [{"_id": 1}], "hidden": True}, "keys is _id alone: the server makes that index, and it cannot be hidden,"),
    ("bad_index", {"name": "_id_", "state": "absent"}, "keys is _id alone"),
    (
        "bad_index",
        {**ONE, "sparse": True, "partial_filter_expression": {"a": 1}},
        "sparse and partial_filter_expression exclude each other",
    ),
    ("bad_index", {**ONE, "weights": {"a": 3}}, "weights belongs to text indexes; no field of keys is text"),
    ("bad_index", {"keys": [{"t": "text"}], "weights": {"s": 3}}, "weights.s is not a text field of keys"),
    ("bad_index", {"keys": [{"t": "text"}], "weights": {"t": 0}}, "weights.t = 0 is not a whole number in 1..99999"),
    ("bad_index", {"keys": [{"t": "text"}], "collation": {"locale": "de"}}, "collation cannot be had by text and 2d indexes"),
    ("bad_index", {"keys": [{"a": "hashed"}], "unique": True}, "unique cannot be had by a hashed index"),
    ("bad_index", {"keys": [{"$**": 1}], "unique": True}, "unique cannot be had by a wildcard index"),
    ("bad_index", {**ONE, "wildcard_projection": {"b": 1}}, "wildcard_projection needs the one key $**"),
    ("bad_index", {**ONE, "unique": "yes"}, "unique must be true or false, not 'yes'"),
    ("bad_index", {**ONE, "collation": {"strength": 2}}, "collation.locale is missing"),
    (
        "bad_index",
        {**ONE, "collation": {"locale": "de", "strenght": 2}},
        "collation.strenght is not a known field here (did you mean strength?)",
    ),
    ("bad_index", {**ONE, "collation": {"locale": "de", "strength": 6}}, "collation.strength = 6 is not one of"),
    (
        "bad_index",
        {**ONE, "partial_filter_expression": {"b": {"$ne": 1}}},
        "partial_filter_expression.b.$ne is not an operator of partial filters",
    ),
    ("bad_index", {**ONE, "partial_filter_expression": {"b": {"$exists": False}}}, "partial_filter_expression.b.$exists can only be true"),
    (
        "bad_index",
        {**ONE, "partial_filter_expression": {"$adn": []}},
        "partial_filter_expression.$adn cannot stand here (did you mean $and?)",
    ),
    ("bad_index", {**ONE, "state": "presnt"}, "state = 'presnt' is not one of absent, present (did you mean present?)"),
    ("bad_index", {**ONE, "allow": ["rebiuld"]}, "allow: 'rebiuld' is not one of"),
    ("bad_index", {**ONE, "expireAfterSeconds": 5, "options": {"expireAfterSeconds": 5}}, "expire_after_seconds is given twice"),
    ("bad_index", {**ONE, "name": "linda_ops_cover_x"}, "name = 'linda_ops_cover_x' cannot name an index"),
    ("bad_index", {"state": "absent"}, "name is missing: an index to be removed is told by its name or its keys"),
]


@pytest.mark.parametrize(("code", "index", "says"), BAD)
def test_a_bad_index_is_refused_with_its_field(code: str, index: dict[str, Any], says: str) -> None:
    raw = [{"database": "d", "collection": "c", "indexes": [index]}]
    with pytest.raises(MongodbError) as caught:
        parse_collections(raw)
    assert caught.value.code == code
    assert says in caught.value.message
    assert "d.c: indexes[0]" in caught.value.message
    assert mongodb_indexes_problem(raw) == caught.value.message


@pytest.mark.parametrize(
    ("code", "indexes", "says"),
    [
        ("duplicate_index", [{**ONE, "name": "n"}, {"keys": {"b": 1}, "name": "n"}], "two indexes have the name n"),
        ("duplicate_index", [{**ONE, "name": "n"}, {**ONE, "name": "m"}], "keys of n and m are the same"),
        ("duplicate_index", [{**ONE, "unique": True}, {**ONE, "name": "m"}], "keys of a_1 and m are the same"),
        ("bad_index", [{"keys": {"s": "text"}}, {"keys": {"t": "text"}}], "more than one text index"),
        ("bad_index", [{"keys": {f"f{n}": 1}} for n in range(64)], "a collection holds 64, _id_ among them"),
    ],
)
def test_indexes_that_cannot_be_together_are_refused(code: str, indexes: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_collections([{"database": "d", "collection": "c", "indexes": indexes}])
    assert caught.value.code == code
    assert says in caught.value.message


def test_the_same_keys_with_another_collation_or_filter_are_two_indexes() -> None:
    indexes = [
        ONE,
        {**ONE, "name": "de", "collation": {"locale": "de"}},
        {**ONE, "name": "some", "partial_filter_expression": {"b": {"$exists": True}}},
    ]
    (one,) = parse_collections([{"database": "d", "collection": "c", "indexes": indexes}])
    assert len(one.wanted) == 3


@pytest.mark.parametrize(
    ("collections", "says"),
    [
        ([{"collection": "c"}], "collections[0] (?.c): database is missing"),
        ([{"database": "d.e", "collection": "c"}], "database = 'd.e' is not the name of a database"),
        ([{"database": "local", "collection": "c"}], "database = 'local' belongs to the server"),
        ([{"database": "d", "collection": "system.views"}], "collection = 'system.views' is not the name of a collection"),
        ([{"database": "d", "collection": "c", "unmanaged": "remove"}], "unmanaged = 'remove' is not one of keep, report, hide, drop"),
        ([{"database": "d", "collection": "c", "soak": -1}], "soak = -1 is not in"),
        ([{"database": "d", "collection": "c", "indices": []}], "indices is not a known field here (did you mean indexes?)"),
        ([{"database": "d", "collection": "c"}, {"database": "d", "collection": "c"}], "d.c is listed more than once"),
        (["c"], "must be a mapping"),
    ],
)
def test_bad_collections_are_refused(collections: list[Any], says: str) -> None:
    assert says in mongodb_indexes_problem(collections)


def test_all_problems_are_told_at_once() -> None:
    problem = mongodb_indexes_problem([{"database": "d", "collection": "c", "indexes": [{**ONE, "x": 1}, {"keys": {"b": 3}}]}])
    assert "x is not a known field" in problem
    assert "keys[0].b = 3" in problem


def test_the_form_of_community_mongodb_is_read_too() -> None:
    flat = parse_flat(
        [
            {"database": "d", "collection": "c", "keys": {"a": 1}, "options": {"name": "n", "unique": True}, "state": "present"},
            {"database": "d", "collection": "e", "keys": [{"a": 1}], "options": {"name": "m"}, "state": "present"},
            {"database": "d", "collection": "c", "options": {"name": "old"}, "state": "absent"},
        ]
    )
    assert [(one.label, [(wanted.index.name, wanted.present) for wanted in one.wanted]) for one in flat] == [
        ("d.c", [("n", True), ("old", False)]),
        ("d.e", [("m", True)]),
    ]
    with pytest.raises(MongodbError, match=r"indexes\[0\]: collection must be text"):
        parse_flat([{"database": "d", "keys": {"a": 1}}])
