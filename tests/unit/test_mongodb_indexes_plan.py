"""The planner of mongodb_indexes against a model of the server's rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_plan import (
    Found,
    Plan,
    Question,
    Step,
    draft,
    plan,
    questions,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import (
    ALLOW,
    COVER,
    Described,
    Index,
    collation_form,
    parse_collections,
    read_index,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

HERE = ("d", "c")
VERSION = (6, 0)
WORDS = {"unique": "unique", "sparse": "sparse", "hidden": "hidden", "prepare_unique": "prepareUnique"}


def describe(*indexes: dict[str, Any], **more: Any) -> Described:
    (one,) = parse_collections([{"database": "d", "collection": "c", "indexes": list(indexes), **more}])
    return one


def listed(document: Mapping[str, Any]) -> Index:
    """An index as the server lists it after it was created by this document."""
    found: dict[str, Any] = {"v": 2, "key": {}, **{name: value for name, value in document.items() if name != "key"}}
    for name, kind in document["key"].items():
        found["key"].update({"_fts": "text", "_ftsx": 1} if kind == "text" else {name: kind})
    if "_fts" in found["key"]:
        found |= {"textIndexVersion": 3, "default_language": found.get("default_language", "english")}
        found["language_override"] = found.get("language_override", "language")
    if "2dsphere" in found["key"].values():
        found["2dsphereIndexVersion"] = 3
    if document.get("collation"):
        form = collation_form(document["collation"])
        found.pop("collation")
        if form:
            found["collation"] = {**dict(form), "version": "57.1"}
    return read_index(found)


class Model:
    """One collection with the server's rules for what can be created, changed and dropped."""

    def __init__(self, *documents: Mapping[str, Any]) -> None:
        self.indexes: dict[str, Index] = {}
        for document in documents:
            self.create(listed(document))

    @staticmethod
    def identity(index: Index) -> tuple[object, ...]:
        return (*index.signature, "partialFilterExpression" in index.document)

    def create(self, index: Index) -> None:
        have = self.indexes.get(index.name)
        if have == index:
            return
        assert have is None, f"{index.name} exists with other options"
        for other in self.indexes.values():
            assert self.identity(other) != self.identity(index), f"{index.name} exists as {other.name}"
            assert not (other.text and index.text), "two text indexes"
        assert len(self.indexes) < 63
        self.indexes[index.name] = index

    def apply(self, step: Step, version: tuple[int, int]) -> None:
        assert step.namespace == HERE
        assert "_id_" not in step.names
        if step.action == "create_indexes":
            assert step.names == tuple(index.name for index in step.indexes)
            for index in step.indexes:
                self.create(listed(index.document))
        elif step.action == "drop_indexes":
            for name in step.names:
                del self.indexes[name]
        else:
            (name,) = step.names
            index, change = self.indexes[name], dict(step.change)
            if "expireAfterSeconds" in change:
                assert index.ttl is not None or version >= (5, 1)
                index = replace(index, ttl=change["expireAfterSeconds"])
            if "hidden" in change:
                index = replace(index, hidden=change["hidden"])
            if "prepareUnique" in change:
                assert len(change) == 1
                assert version >= (6, 0)
                index = replace(index, prepare_unique=change["prepareUnique"])
            if change.get("unique"):
                assert index.prepare_unique
                index = replace(index, unique=True, prepare_unique=False)
            self.indexes[name] = index

    def found(self) -> dict[tuple[str, str], Found]:
        return {HERE: Found(True, tuple(self.indexes.values()))}

    def serves(self, wanted: Index) -> bool:
        """Is there an index that a query for this one would use?"""
        return any(
            not index.hidden
            and index.keys[: len(wanted.keys)] == wanted.keys
            and (index.filter, index.collation) == (wanted.filter, wanted.collation)
            and (wanted.sparse or not index.sparse)
            and dict(index.options).get("wildcardProjection") == dict(wanted.options).get("wildcardProjection")
            for index in self.indexes.values()
        )

    def enforces(self, wanted: Index) -> bool:
        """Is a duplicate that this unique index would refuse refused?"""
        return any(
            index.unique and index.keys == wanted.keys and index.collation == wanted.collation and _same_documents(index, wanted)
            for index in self.indexes.values()
        )


def _same_documents(index: Index, wanted: Index) -> bool:
    if index.sparse == wanted.sparse and index.filter == wanted.filter:
        return True
    expression = index.document.get("partialFilterExpression") or {}
    base = wanted.document.get("partialFilterExpression") or {wanted.keys[0][0]: {"$exists": True}}
    return index.name.startswith(COVER) and expression == {"$and": [base, {"_id": {"$exists": True}}]}


class Answers(dict[Question, Any]):
    """The same answer to every question of a kind."""

    def __init__(self, **by_kind: Any) -> None:
        super().__init__()
        self.by_kind = {"expired": 0, "duplicates": [], "shard_key": (), "hidden": 10**9, **by_kind}

    def __contains__(self, _question: object) -> bool:
        return True

    def get(self, question: Question, default: Any = None) -> Any:
        return self.by_kind.get(question.what, default)


def decide(described: Described, model: Model, version: tuple[int, int] = VERSION, **answers: Any) -> Plan:
    return plan([described], model.found(), Answers(**answers), version)


def reasons(whole: Plan) -> list[str]:
    return [step.describe()["reason"].removeprefix("d.c: ") for step in whole.steps]


A = {"key": {"a": 1}, "name": "a_1"}
B = {"key": {"b": 1}, "name": "b_1"}

# ---------------------------------------------------------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("have", "want", "steps"),
    [
        ([A], {"keys": {"a": 1}}, []),
        ([], {"keys": {"a": 1}}, ["create a_1"]),
        ([A], {"keys": {"a": 1}, "hidden": True}, ["a_1: hide it"]),
        ([{**A, "hidden": True}], {"keys": {"a": 1}}, ["a_1: show it again to queries"]),
        (
            [{**A, "expireAfterSeconds": 5}],
            {"keys": {"a": 1}, "expire_after_seconds": 9},
            ["a_1: expire_after_seconds 5 -> 9"],
        ),
        ([A], {"keys": {"a": 1}, "expire_after_seconds": 9}, ["a_1: expire_after_seconds none -> 9"]),
        ([A], {"keys": {"a": 1}, "unique": True}, ["a_1: let no new duplicates in", "a_1: make it unique"]),
        ([{**A, "prepareUnique": True}], {"keys": {"a": 1}, "unique": True}, ["a_1: make it unique"]),
        ([{**A, "prepareUnique": True}], {"keys": {"a": 1}}, ["a_1: let duplicates in again"]),
        ([A], {"keys": {"a": 1}, "state": "absent"}, ["drop a_1, which should be absent"]),
        ([A], {"name": "a_1", "state": "absent"}, ["drop a_1, which should be absent"]),
        ([A], {"name": "b_1", "state": "absent"}, []),
        ([{**A, "name": "x"}], {"keys": {"a": 1}}, []),
        ([{**A, "name": "x"}], {"keys": {"a": 1}, "hidden": True}, ["x: hide it"]),
    ],
)
def test_the_cheapest_way_is_taken(have: list[dict[str, Any]], want: dict[str, Any], steps: list[str]) -> None:
    whole = decide(describe(want), Model(*have))
    assert reasons(whole) == steps
    assert [one["name"] for one in whole.adopted] == (["x"] if have and have[0]["name"] == "x" else [])


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ({**A, "key": {"a": -1}}, {"keys": {"a": 1}, "name": "a_1"}),
        ({**A, "sparse": True}, {"keys": {"a": 1}, "name": "a_1"}),
        ({**A, "expireAfterSeconds": 5}, {"keys": {"a": 1}}),
        ({**A, "collation": {"locale": "de"}}, {"keys": {"a": 1}}),
        ({**A, "partialFilterExpression": {"b": 1}}, {"keys": {"a": 1}}),
        (A, {"keys": {"a": 1}, "partial_filter_expression": {"b": 1}}),
        ({"key": {"t": "text"}, "name": "t_text", "weights": {"t": 2}}, {"keys": {"t": "text"}}),
        ({"key": {"$**": 1}, "name": "$**_1", "wildcardProjection": {"x": 1}}, {"keys": {"$**": 1}}),
    ],
)
def test_a_rebuild_is_refused_unless_allowed_and_then_covered(have: dict[str, Any], want: dict[str, Any]) -> None:
    model = Model(have)
    with pytest.raises(MongodbError) as caught:
        decide(describe(want), model)
    assert caught.value.code == "rebuild_not_allowed"
    assert "is " in caught.value.message
    text = "text" in have["key"].values()
    if text:
        with pytest.raises(MongodbError) as caught:
            decide(describe({**want, "allow": ["rebuild"]}), model)
        assert caught.value.code == "rebuild_leaves_gap"
    whole = decide(describe({**want, "allow": ["rebuild_with_gap" if text else "rebuild"]}), model)
    actions = [step.action for step in whole.steps]
    assert actions == (["drop_indexes", "create_indexes"] if text else ["create_indexes", "drop_indexes", "create_indexes", "drop_indexes"])


def test_what_a_refusal_says() -> None:
    described = describe({"keys": {"t": 1}, "expire_after_seconds": 60})
    model = Model({"key": {"t": 1}, "name": "t_1", "expireAfterSeconds": 3600})
    for count, words in (
        (7, "about 7 documents"),
        (1, "about 1 document at"),
        (0, "about 0 documents"),
        (None, "documents that could not be counted"),
    ):
        with pytest.raises(MongodbError, match=words) as caught:
            decide(described, model, expired=count)
        assert caught.value.code == "lowers_ttl"
    assert decide(describe({"keys": {"t": 1}, "expire_after_seconds": 60}, allow=["lower_ttl"]), model).steps


def test_a_ttl_where_there_was_none_is_refused_only_when_it_deletes() -> None:
    described = describe({"keys": {"a": 1}, "expire_after_seconds": 60})
    for model in (Model(A), Model()):
        assert decide(described, model, expired=0).steps
        with pytest.raises(MongodbError, match="about 3 documents"):
            decide(described, model, expired=3)
    assert plan([described], {HERE: Found(exists=False)}, {}, VERSION).steps


def test_unique_over_duplicates() -> None:
    samples = [{"key": {"a": 5}, "documents": 2}]
    for model, step in ((Model(), "create a_1"), (Model(A), "a_1: let no new duplicates in")):
        with pytest.raises(MongodbError) as caught:
            decide(describe({"keys": {"a": 1}, "unique": True}), model, duplicates=samples)
        assert caught.value.code == "duplicates"
        assert '{"key": {"a": 5}, "documents": 2}' in caught.value.message
        allowed = describe({"keys": {"a": 1}, "unique": True, "allow": ["duplicates"]})
        whole = decide(allowed, model, duplicates=samples)
        assert reasons(whole) == [step]
        assert whole.pending == ["d.c: a_1 becomes unique when its duplicates are gone."]
        for one in whole.steps:
            model.apply(one, VERSION)
        assert decide(allowed, model, duplicates=samples).steps == []
        assert reasons(decide(allowed, model)) == ["a_1: make it unique"]
        with pytest.raises(MongodbError):
            decide(allowed, Model(A), (5, 0), duplicates=samples)


def test_the_last_of_a_kind_is_not_lost() -> None:
    unique = {**A, "unique": True}
    for described in (
        describe({"name": "a_1", "state": "absent"}),
        describe({"keys": {"a": 1}, "allow": ["rebuild"]}),
        describe(unmanaged="drop"),
        describe(unmanaged="drop", soak=0),
    ):
        with pytest.raises(MongodbError) as caught:
            decide(described, Model(unique))
        assert caught.value.code == "drops_last_unique"
        assert decide(replace_allow(described, "drop_last_unique"), Model(unique)).steps
    assert decide(describe({"name": "a_1", "state": "absent"}), Model(unique, {**B, "unique": True})).steps

    sharded = {"shard_key": (("a", 1),)}
    compound = {"key": {"a": 1, "b": 1}, "name": "ab"}
    for have, refused in (([A], True), ([A, compound], False), ([A, {**compound, "sparse": True}], True), ([A, B], True)):
        if refused:
            with pytest.raises(MongodbError) as caught:
                decide(describe({"keys": {"a": 1}, "state": "absent"}), Model(*have), **sharded)
            assert caught.value.code == "drops_shard_key_index"
        else:
            assert decide(describe({"keys": {"a": 1}, "state": "absent"}), Model(*have), **sharded).steps
    assert decide(describe({"keys": {"a": 1}, "state": "absent", "allow": ["drop_shard_key_index"]}), Model(A), **sharded).steps


def replace_allow(described: Described, word: str) -> Described:
    wanted = tuple(replace(one, allow=one.allow | {word}) for one in described.wanted)
    return replace(described, wanted=wanted, allow=described.allow | {word})


@pytest.mark.parametrize(
    ("mode", "hidden", "age", "steps", "drop_in"),
    [
        ("keep", False, None, [], []),
        ("report", False, None, [], [None]),
        ("hide", False, None, ["hide b_1, which nobody described"], [None]),
        ("hide", True, None, [], [None]),
        ("drop", False, None, ["hide b_1, which nobody described"], [100]),
        ("drop", True, 30.5, [], [70]),
        ("drop", True, None, [], [100]),
        ("drop", True, 100, ["drop b_1, which nobody described"], [None]),
    ],
)
def test_what_nobody_described(mode: str, hidden: bool, age: float | None, steps: list[str], drop_in: list[int | None]) -> None:
    model = Model(A, {**B, "hidden": hidden})
    whole = decide(describe({"keys": {"a": 1}}, unmanaged=mode, soak=100), model, hidden=age)
    assert reasons(whole) == steps
    assert [one.get("drop_in") for one in whole.unmanaged] == drop_in


def test_a_build_under_way_is_joined_and_another_one_is_not_disturbed() -> None:
    building = Found(True, (replace(listed(A), building=True),))
    whole = plan([describe({"keys": {"a": 1}}, {"keys": {"b": 1}})], {HERE: building}, Answers(), VERSION)
    assert reasons(whole) == ["create b_1; join the build of a_1, which is under way"]
    with pytest.raises(MongodbError) as caught:
        plan([describe({"keys": {"a": 1}, "hidden": True})], {HERE: building}, Answers(), VERSION)
    assert caught.value.code == "build_conflict"


def test_names_that_are_in_the_way() -> None:
    swapped = describe({"keys": {"a": 1}, "name": "x"}, {"keys": {"b": 1}, "name": "y"}, allow=["rebuild"])
    assert decide(swapped, Model({**A, "name": "y"}, {**B, "name": "x"})).steps == [], "each is adopted as it is"
    model = Model({**B, "name": "x"})
    moved = decide(swapped, model)
    assert [step.action for step in moved.steps] == ["create_indexes", "drop_indexes", "create_indexes", "drop_indexes"]
    for step in moved.steps:
        model.apply(step, VERSION)
    assert {name: index.keys for name, index in model.indexes.items()} == {"x": (("a", 1),), "y": (("b", 1),)}
    renamed = describe({"keys": {"a": 1}}, {"name": "old", "state": "absent"})
    with pytest.raises(MongodbError, match="name can only be changed by building it anew"):
        decide(renamed, Model({**A, "name": "old"}))


@pytest.mark.parametrize(
    "want",
    [
        {"keys": {"a": 1}, "unique": True},
        {"keys": {"a": 1}, "unique": True, "partial_filter_expression": {"b": 1}},
        {"keys": {"a": 1}, "unique": True, "sparse": True},
    ],
)
def test_what_was_unique_stays_so_while_it_is_rebuilt(want: dict[str, Any]) -> None:
    described = describe({**want, "allow": ["rebuild"]})
    model = Model({**described.wanted[0].index.document, "expireAfterSeconds": 60})
    steps = decide(described, model).steps
    for place, step in enumerate(steps):
        model.apply(step, VERSION)
        assert model.enforces(described.wanted[0].index)
        assert model.serves(described.wanted[0].index)
        again = decide(described, model).steps
        if place < 2:
            assert [step.names for step in again][-1] == steps[-1].names, "the covers of the run that died go last"
        if place == 0:
            assert again == steps[1:], "a cover that stands is not built twice"
    assert set(model.indexes) == {"a_1"}


def test_all_new_indexes_of_a_collection_are_one_command() -> None:
    described = describe(*({"keys": {f"f{n}": 1}} for n in range(50)))
    whole = decide(described, Model(A))
    assert [(step.action, len(step.indexes)) for step in whole.steps] == [("create_indexes", 50)]


def test_an_older_server_rebuilds_what_it_cannot_change() -> None:
    for want in ({"keys": {"a": 1}, "unique": True}, {"keys": {"a": 1}, "expire_after_seconds": 5}):
        with pytest.raises(MongodbError, match="rebuild"):
            decide(describe(want), Model(A), (5, 0))


def test_questions_are_asked_only_when_something_hangs_on_them() -> None:
    found = Model({**A, "unique": True}, B).found()
    assert questions([describe({"keys": {"a": 1}, "unique": True})], found, {}, VERSION) == []
    asked = questions([describe({"keys": {"b": 1}, "expire_after_seconds": 5}, {"keys": {"c": 1}, "unique": True})], found, {}, VERSION)
    assert [question.what for question in asked] == ["expired", "duplicates"]


def test_the_collection_s_own_collation_is_that_of_its_indexes() -> None:
    german = collation_form({"locale": "de"})
    found = {HERE: Found(True, (listed({**A, "collation": {"locale": "de"}}),), german)}
    assert plan([describe({"keys": {"a": 1}})], found, Answers(), VERSION).steps == []
    simple = describe({"keys": {"a": 1}, "collation": {"locale": "simple"}})
    assert draft([simple], found, Answers(), VERSION).refusals[0].code == "rebuild_not_allowed"


# -------------------------------------------------------------------------------------------------------------- properties

KEYS = [
    [("a", 1)],
    [("a", -1)],
    [("b", 1)],
    [("a", 1), ("b", 1)],
    [("b", 1), ("a", 1)],
    [("a", "hashed")],
    [("a", 1), ("_id", 1)],
    [("$**", 1)],
    [("t", "text")],
    [("t", "text"), ("u", "text")],
]


@st.composite
def raw_index(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.sampled_from(KEYS))
    kinds = {kind for _name, kind in keys}
    simple = kinds <= {1, -1} and keys[0][0] != "$**"
    raw: dict[str, Any] = {"keys": [{name: kind} for name, kind in keys]}
    if draw(st.booleans()):
        raw["name"] = draw(st.sampled_from(["x", "y", "z", "a_1"]))
    if simple and draw(st.booleans()):
        raw["unique"] = True
    if simple and len(keys) == 1 and draw(st.booleans()):
        raw["expire_after_seconds"] = draw(st.sampled_from([60, 3600]))
    extra = draw(st.sampled_from(["none", "none", "sparse", "filter", "other"]))
    if extra == "sparse" and simple:
        raw["sparse"] = True
    if extra in ("filter", "other"):
        raw["partial_filter_expression"] = {"b": {"$gt": 1}} if extra == "filter" else {"b": {"$exists": True}, "a": 3}
    if "text" not in kinds and draw(st.integers(0, 3)) == 0:
        raw["collation"] = {"locale": draw(st.sampled_from(["de", "en"]))}
    if "text" in kinds and draw(st.booleans()):
        raw["weights"] = {"t": draw(st.integers(1, 3))}
    raw["hidden"] = draw(st.sampled_from([False, False, True]))
    return raw


@st.composite
def described_collection(draw: st.DrawFn) -> Described:
    raws = draw(st.lists(raw_index(), max_size=4))
    for raw in raws:
        if draw(st.integers(0, 5)) == 0:
            raw["state"] = "absent"
    try:
        described = describe(*raws, unmanaged=draw(st.sampled_from(["keep", "hide", "drop"])), soak=100, allow=list(ALLOW))
    except MongodbError:
        assume(False)
    return described


@st.composite
def models(draw: st.DrawFn) -> Model:
    model = Model()
    for raw in draw(st.lists(raw_index(), max_size=5)):
        document = {**describe(raw).wanted[0].index.document}
        if not document.get("unique") and draw(st.integers(0, 5)) == 0:
            document["prepareUnique"] = True
        try:
            model.create(listed(document))
        except AssertionError:
            continue
    return model


def goal_reached(model: Model, described: Described, before: dict[str, Index]) -> None:
    for wanted in described.wanted:
        ours = wanted.index
        if not wanted.present:
            present = {one.index.keys for one in described.wanted if one.present}
            same = [index for index in model.indexes.values() if (index.keys == ours.keys if wanted.keyed else index.name == ours.name)]
            assert not same or (wanted.keyed and ours.keys in present), same
            continue
        like = [
            index
            for index in model.indexes.values()
            if index.signature == ours.signature
            and (index.ttl, index.hidden) == (ours.ttl, ours.hidden)
            and dict(ours.options).items() <= dict(index.options).items()
        ]
        assert like, f"{ours} is missing in {model.indexes}"
    assert not any(name.startswith(COVER) for name in model.indexes)
    if described.unmanaged == "keep" and not described.wanted:
        assert model.indexes == before


@settings(max_examples=400, deadline=None)
@given(described_collection(), models(), st.sampled_from([(5, 0), (5, 1), (6, 0)]), st.integers(0, 8))
def test_any_state_reaches_the_description_also_when_a_run_dies(
    described: Described, model: Model, version: tuple[int, int], dies_after: int
) -> None:
    if version < (6, 0):
        model.indexes = {name: replace(index, prepare_unique=False) for name, index in model.indexes.items()}
    before = dict(model.indexes)
    served = [one.index for one in described.wanted if one.present and model.serves(one.index)]
    unique = [one.index for one in described.wanted if one.present and one.index.unique and model.enforces(one.index)]

    def steps() -> Iterator[Step]:
        whole = decide(described, model, version)
        # The diff shows what changes, and nothing else.
        assert bool(whole.before or whole.after) <= bool(whole.steps)
        yield from whole.steps

    def watch() -> None:
        for index in served:
            gap = index.text or (index.wildcard and index.filter) or (index.filter and ("_id", 1) in index.keys)
            gap = gap or (index.sparse and index.unique and len(index.keys) > 1)
            assert index.hidden or gap or model.serves(index), f"nothing serves {index}: {model.indexes}"
        for index in unique:
            gap = (index.sparse and len(index.keys) > 1) or (index.filter and ("_id", 1) in index.keys)
            assert gap or model.enforces(index), f"nothing keeps {index} unique: {model.indexes}"

    for step in itertools.islice(steps(), dies_after):
        model.apply(step, version)
        watch()
    for step in steps():
        model.apply(step, version)
        watch()
    # Hidden first, dropped by the next run.
    for step in steps():
        assert "nobody described" in step.reason
        model.apply(step, version)
        watch()
    assert list(steps()) == []
    goal_reached(model, described, before)
