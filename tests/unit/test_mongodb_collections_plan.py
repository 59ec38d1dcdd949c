"""What mongodb_collections reads, and its planner."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_collections_plan import (
    Existing,
    Observed,
    Step,
    picture,
    plan,
    questions,
    reached,
    unmanaged,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_collections_spec import (
    ALLOW,
    CAPPED_STEP,
    GRANULARITIES,
    NO_EXPIRY,
    Capped,
    Collection,
    Namespace,
    canonical,
    parse_collections,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from hypothesis import given, settings
from hypothesis import strategies as st

NAMED = {"$jsonSchema": {"bsonType": "object", "required": ["name"]}}

# ------------------------------------------------------------------------------------------------------------------ bad input

BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "database_name": ("bad_database", {"database": "my shop"}, "Database 'my shop'"),
    "system_database": ("bad_database", {"database": "config"}, "'config'"),
    "collection_name": ("bad_collection", {"collection": "a$b"}, "'a$b'"),
    "system_collection": ("bad_collection", {"collection": "system.profile"}, "'system.profile'"),
    "long_name": ("bad_collection", {"collection": "x" * 251}, "longer than 255 bytes"),
    "action_without_validator": ("bad_option", {"validation_action": "warn"}, "validation_action is given without validator"),
    "misspelt_keyword": ("bad_validator", {"validator": {"$jsonSchema": {"bsonTyp": "object"}}}, "validator.$jsonSchema.bsonTyp"),
    "keyword_deep_down": (
        "bad_validator",
        {"validator": {"$jsonSchema": {"properties": {"a": {"items": [{"require": ["b"]}]}}}}},
        "validator.$jsonSchema.properties.a.items[0].require",
    ),
    "unknown_type": ("bad_validator", {"validator": {"$jsonSchema": {"bsonType": "integer"}}}, "bsonType = 'integer'"),
    "both_types": ("bad_validator", {"validator": {"$jsonSchema": {"bsonType": "int", "type": "number"}}}, "both type and bsonType"),
    "no_document_passes": (
        "bad_validator",
        {"validator": {"$jsonSchema": {"additionalProperties": False, "properties": {"a": {}}}}},
        "without _id among properties: no document could pass",
    ),
    "empty_required": ("bad_validator", {"validator": {"$jsonSchema": {"required": []}}}, "required = []"),
    "operator": ("bad_validator", {"validator": {"$where": "true"}}, "validator.$where"),
    "capped_without_size": ("bad_option", {"capped": {"size": 0}}, "capped.size = 0"),
    "two_kinds": ("bad_option", {"capped": {"size": 1}, "clustered": {}}, "capped and clustered exclude each other"),
    "ttl_in_the_wrong_place": ("bad_option", {"expire_after_seconds": 60}, "by a TTL index (linda.ops.mongodb_indexes"),
    "validator_of_a_series": (
        "bad_option",
        {"validator": NAMED, "timeseries": {"time_field": "t"}},
        "validator is given for a time series",
    ),
    "one_field_twice": ("bad_option", {"timeseries": {"time_field": "t", "meta_field": "t"}}, "timeseries.meta_field = 't'"),
    "no_locale": ("bad_option", {"collation": {"strength": 1}}, "collation has no locale"),
    "unknown_collation": ("bad_option", {"collation": {"locale": "de", "strenght": 1}}, "collation.strenght"),
    "unknown_allow": ("bad_option", {"allow": ["everything"]}, "allow = everything is not among invalid_documents"),
    "negative_expiry": ("bad_option", {"clustered": {}, "expire_after_seconds": -5}, "expire_after_seconds = -5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_named(case: str) -> None:
    code, change, words = BAD[case]
    with pytest.raises(MongodbError) as refusal:
        parse_collections([{"database": "shop", "collection": "it", **change}])
    assert refusal.value.code == code
    assert words in refusal.value.message
    # The database or the collection is named too, so that one finds the line among a hundred.
    assert str(change.get("database", "shop")) in refusal.value.message


def one(**change: Any) -> Collection:
    (collection,) = parse_collections([{"database": "shop", "collection": "it", **change}])
    return collection


@pytest.mark.parametrize("other", ["shop", "Shop"])
def test_a_collection_listed_twice_and_a_database_in_two_cases_are_refused(other: str) -> None:
    with pytest.raises(MongodbError, match=r"listed more than once|differ in case only"):
        parse_collections([{"database": "shop", "collection": "it"}, {"database": other, "collection": "it"}])


def test_what_yaml_and_the_server_make_of_values() -> None:
    assert one(validator=NAMED, validation_level=False).level == "off", "YAML reads a bare off as false"
    assert one(capped={"size": 1}).capped == Capped(CAPPED_STEP), "the server rounds up"
    assert one(collation={"locale": "simple"}).collation is None
    assert (one(collation={"locale": "fr_CA"}).collation or {})["backwards"] is True


def test_a_whole_schema_is_taken() -> None:
    schema = {
        "title": "everything",
        "bsonType": "object",
        "required": ["a"],
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "_id": {},
            "a": {"bsonType": ["int", "long"], "minimum": 0, "exclusiveMinimum": True, "multipleOf": 1.5},
            "b": {"bsonType": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
            "c": {"bsonType": "array", "items": [{"enum": [1, "x", None]}], "additionalItems": {"bsonType": "date"}},
            "d": {"oneOf": [{"pattern": "^x"}, {"not": {"maxLength": 3}}]},
        },
        "dependencies": {"a": ["b"]},
    }
    assert one(validator={"$jsonSchema": schema, "$expr": {"$gt": ["$a", "$b"]}, "$or": [{"e": 1}, {"e": {"$exists": False}}]}).validator


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ([1, 2], [2, 1], False),
        ({"a": None}, {}, False),
        ({"a": {"b": [True]}}, {"a": {"b": [True]}}, True),
    ],
)
def test_equal_means_equal_for_the_server(left: object, right: object, same: bool) -> None:
    assert (canonical(left) == canonical(right)) is same


# --------------------------------------------------------------------------------------------------------------------- plans


def decide(collection: Collection, existing: Existing | None, **counts: int | None) -> tuple[list[str], str]:
    """The changes, and the warning or the code of the refusal."""
    found = {} if existing is None else {collection.key: existing}
    observed = Observed(found, counts={(what, collection.key): number for what, number in counts.items()})
    try:
        planned = plan([collection], observed)
    except MongodbError as error:
        return [], error.code
    return [change for step in planned.steps for change in step.changes], " ".join(planned.warnings)


def test_a_validator_is_judged_by_what_is_stored() -> None:
    strict = one(validator=NAMED)
    assert decide(strict, Existing(), invalid=0) == (["validator"], "")
    assert decide(strict, Existing(), invalid=2) == ([], "invalid_documents")
    assert decide(strict, Existing(), invalid=None) == ([], "count_timed_out")
    allowed = one(validator=NAMED, allow=["invalid_documents"])
    assert (
        "2 documents would not pass the validator, and updates of them would fail; it is done" in decide(allowed, Existing(), invalid=2)[1]
    )
    for looser in ({"validation_action": "warn"}, {"validation_level": "moderate"}):
        changes, warning = decide(one(validator=NAMED, **looser), Existing(), invalid=2)
        assert "validator" in changes
        assert "2 documents would not pass" in warning
    assert decide(one(validator=NAMED, validation_level="off"), Existing())[0] == ["validator", "validation_level"]


@pytest.mark.parametrize(
    ("wanted", "existing", "asks"),
    [
        ({"validator": NAMED}, Existing(validator=NAMED), []),
        ({"validator": NAMED}, Existing(validator=NAMED, action="warn"), ["invalid"]),
        ({"validator": NAMED}, Existing(validator=NAMED, level="moderate"), ["invalid"]),
        ({"validator": NAMED, "validation_level": "moderate"}, Existing(validator=NAMED), []),
        ({"validator": {}}, Existing(validator=NAMED), []),
        ({}, Existing(validator=NAMED), []),
        ({"clustered": {}, "expire_after_seconds": 5}, Existing("clustered"), ["expiring"]),
        ({"clustered": {}, "expire_after_seconds": 5}, Existing("clustered", expire_after=4), []),
        ({"clustered": {}, "expire_after_seconds": -1}, Existing("clustered", expire_after=4), []),
        # Where the collection is another one, its documents are of no interest.
        ({"validator": NAMED, "capped": {"size": 1}}, Existing(), []),
    ],
)
def test_only_what_becomes_stricter_is_counted(wanted: dict[str, Any], existing: Existing, asks: list[str]) -> None:
    collection = one(**wanted)
    assert [question.what for question in questions([collection], Observed({collection.key: existing}))] == asks


def test_an_old_server_is_not_asked_for_what_it_cannot_do() -> None:
    def code(collection: Collection, existing: Existing | None = None) -> str:
        with pytest.raises(MongodbError) as refusal:
            plan([collection], Observed({collection.key: existing} if existing else {}, wire_version=13))
        return refusal.value.code

    assert code(one(clustered={})) == "server_too_old"
    assert code(one(pre_and_post_images=True)) == "server_too_old"
    assert code(one(pre_and_post_images=True), Existing()) == "server_too_old"
    assert code(one(capped={"size": 512}), Existing("capped", capped=Capped(256))) == "server_too_old"


def test_unmanaged_ones_are_of_described_databases_only() -> None:
    keys: list[Namespace] = [("shop", "it"), ("shop", "old"), ("shop", "system.views"), ("other", "x")]
    assert unmanaged([one()], Observed({key: Existing() for key in keys})) == ["shop.old"]


# ----------------------------------------------------------------------------------------------------------------- properties

validators = st.sampled_from([None, {}, NAMED, {"a": 1}, {"a": True}])


@st.composite
def described(draw: st.DrawFn, name: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(["collection", "capped", "clustered", "timeseries"]))
    entry: dict[str, Any] = {"database": "shop", "collection": name, "allow": draw(st.lists(st.sampled_from(ALLOW), unique=True))}
    if kind == "capped":
        entry["capped"] = {"size": draw(st.integers(1, 2000)), "max": draw(st.sampled_from([None, 5, 50]))}
    elif kind == "clustered":
        entry["clustered"] = {"name": draw(st.sampled_from([None, "one", "two"]))}
    elif kind == "timeseries":
        entry["timeseries"] = {"time_field": draw(st.sampled_from(["at", "t"])), "granularity": draw(st.sampled_from(GRANULARITIES))}
    if kind in ("clustered", "timeseries"):
        entry["expire_after_seconds"] = draw(st.sampled_from([None, NO_EXPIRY, 0, 60]))
    if kind != "timeseries":
        entry["validator"] = draw(validators)
        if entry["validator"] is not None:
            entry["validation_level"] = draw(st.sampled_from([None, "off", "moderate", "strict"]))
            entry["validation_action"] = draw(st.sampled_from([None, "error", "warn"]))
        entry["pre_and_post_images"] = draw(st.sampled_from([None, True, False]))
    entry["collation"] = draw(st.sampled_from([None, None, {"locale": "de"}, {"locale": "de", "strength": 1}]))
    return entry


class Model:
    """A server: what `create` and `collMod` make of a collection's options, and what listCollections says about them."""

    def __init__(self) -> None:
        self.documents: dict[Namespace, dict[str, Any]] = {}

    def apply(self, step: Step) -> None:
        key, fields = step.collection.key, dict(step.fields)
        if step.action == "create_collection":
            assert key not in self.documents, "created twice"
            assert "cappedSize" not in fields
            self.documents[key] = {"type": "timeseries" if "timeseries" in fields else "collection", "options": fields}
            if "timeseries" not in fields and "validator" in fields:
                assert {"validationLevel", "validationAction"} <= set(fields)
            return
        options = self.documents[key]["options"]
        for name, value in fields.items():
            if name == "cappedSize":
                options["size"] = value
            elif name == "cappedMax":
                options["max"] = value or 2**31 - 1
            elif name == "timeseries":
                assert set(value) == {"granularity"}
                assert GRANULARITIES.index(value["granularity"]) > GRANULARITIES.index(options["timeseries"]["granularity"])
                options["timeseries"] = {**options["timeseries"], **value}
            elif name == "expireAfterSeconds" and value == "off":
                options.pop(name, None)
            else:
                assert name in ("validator", "validationLevel", "validationAction", "expireAfterSeconds", "changeStreamPreAndPostImages")
                options[name] = value

    def observe(self, counts: dict[tuple[str, Namespace], int | None]) -> Observed:
        return Observed({key: Existing.from_server(document) for key, document in self.documents.items()}, counts=counts)


REFUSALS = {"", "wrong_kind", "read_only_property", "invalid_documents", "count_timed_out", "lowers_expiry", "shrinks_capped"}
names = ("a", "b", "c")
descriptions = st.tuples(*(st.none() | described(name) for name in names)).map(lambda found: [entry for entry in found if entry])


@settings(max_examples=400, deadline=None)
@given(descriptions, descriptions, st.sampled_from([0, 3, None]), st.integers(0, 3))
def test_any_state_reaches_the_description_or_is_refused_and_nothing_is_lost(
    first: list[dict[str, Any]], second: list[dict[str, Any]], number: int | None, dies_after: int
) -> None:
    model = Model()
    before, wanted = parse_collections(first), parse_collections(second)
    for step in plan(before, model.observe({})).steps:
        model.apply(step)
    asked = questions(wanted, model.observe({}))
    counts = {(question.what, question.collection.key): number for question in asked}
    start = model.observe(counts)
    try:
        planned = plan(wanted, start)
    except MongodbError as refusal:
        code = refusal.code
    else:
        code = ""
    assert code in REFUSALS
    if code:
        return
    for step in itertools.islice(planned.steps, dies_after):
        model.apply(step)
        # Every prefix is safe: a collection is as it was or as described, and none is gone.
        now = model.observe(counts).collections
        assert set(start.collections) <= set(now)
        wished = reached(step.collection, start.collections.get(step.collection.key))
        assert now[step.collection.key].picture() == wished.picture()
    for step in plan(wanted, model.observe(counts)).steps:
        model.apply(step)
    end = model.observe(counts)
    assert plan(wanted, end).steps == ()
    assert questions(wanted, end) == []
    _before, after = picture(wanted, start, planned.steps)
    for collection in wanted:
        assert end.collections[collection.key].picture() == after[collection.label]
        harmful = counts.get(("invalid", collection.key), 0) != 0 and (collection.level, collection.action) == ("strict", "error")
        assert not harmful or "invalid_documents" in collection.allow
    for key, existing in start.collections.items():
        if key not in {collection.key for collection in wanted}:
            assert end.collections[key] == existing, "not described, and changed"
