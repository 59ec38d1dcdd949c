"""The planner of mongodb_sharding: carried out on a modelled cluster, from any state, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_sharding_plan import (
    MAX_KEY,
    MIN_KEY,
    CollectionSeen,
    Observed,
    Range,
    ShardSeen,
    Step,
    parse_desired,
    parse_value,
    picture,
    plain,
    plan,
)
from ansible_collections.linda.ops.plugins.modules.mongodb_sharding import carry_out, from_wire, observe, to_wire
from bson import Int64, MaxKey, MinKey, ObjectId
from hypothesis import event, given, settings
from hypothesis import strategies as st
from sharding_support import DESCRIPTION, READING, LocalLink, Model, cluster

NAMES = ["s0", "s1", "s2", "s3"]
ZONES = ["eu", "us"]
KEYS: list[list[dict[str, Any]]] = [
    [{"a": 1}],
    [{"a": 1}, {"b": 1}],
    [{"a": 1}, {"b": "hashed"}],
    [{"a": "hashed"}],
    [{"b": 1}],
]
ONE: dict[str, Any] = {"name": "one", "shard": "one/h1:27018"}
TWO: dict[str, Any] = {"name": "two", "shard": "two/h2:27018"}
MESSAGES: dict[str, Any] = {"database": "linda", "collection": "messages", "keys": [{"user_id": "hashed"}]}
ENTITIES: dict[str, Any] = {"database": "linda", "collection": "entities", "keys": [{"region": 1}, {"user_id": 1}]}
EU: dict[str, Any] = {"zone": "eu", "min": {"region": "de"}, "max": {"region": "df"}}


def see(link: LocalLink, params: dict[str, Any]) -> tuple[Observed, list[Step]]:
    desired = parse_desired(params)
    observed = observe(link, desired, link.command("hello"))  # type: ignore[arg-type]
    return observed, plan(desired, observed)


# ------------------------------------------------------------------------------------------------------------------- any state


@st.composite
def ranges(draw: st.DrawFn, key: list[dict[str, Any]], zones: list[str]) -> list[dict[str, Any]]:
    """Ranges of the key's first field that do not overlap."""
    if not zones:
        return []
    (field,) = key[0]
    points = sorted(draw(st.sets(st.integers(0, 9), max_size=6)))
    pairs = list(zip(points[::2], points[1::2], strict=False))
    return [{"zone": draw(st.sampled_from(zones)), "min": {field: low}, "max": {field: high}} for low, high in pairs]


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A cluster that a server could be in."""
    model = Model(wire=draw(st.sampled_from([13, 17, 21])), pace=draw(st.integers(1, 5)))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    for name in names:
        model.shards[name] = {"host": f"{name}/{name}:27018", "state": 1, "tags": draw(st.lists(st.sampled_from(ZONES), unique=True))}
    for name in names[1:]:
        if draw(st.integers(0, 3)) == 0:
            model.shards[name]["draining"] = True
    stay = [name for name in names if not model.shards[name].get("draining")]
    carried = sorted({zone for name in stay for zone in model.shards[name]["tags"]})
    model.databases["linda"] = {"primary": draw(st.sampled_from(stay)), "partitioned": draw(st.booleans())}
    for name in ("x", "y"):
        key = draw(st.sampled_from(KEYS))
        if draw(st.booleans()):
            model.answer({"enableSharding": "linda"}, "admin")
            model.answer({"shardCollection": f"linda.{name}", "key": {field: kind for one in key for field, kind in one.items()}}, "admin")
            model.chunks[f"linda.{name}"] = {shard: draw(st.integers(0, 6)) for shard in names}
        for one in draw(ranges(key, carried)):
            full = {field: MinKey() for entry in key for field in entry}
            model.tags.setdefault(f"linda.{name}", []).append(
                {"tag": one["zone"], "min": {**full, **one["min"]}, "max": {**full, **one["max"]}}
            )
    model.settings["balancer"] = {"stopped": draw(st.booleans())}
    if draw(st.booleans()):
        model.settings["balancer"]["activeWindow"] = {"start": "01:00", "stop": "05:00"}
    model.commands.clear()
    return model


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    shards = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        absent = draw(st.integers(0, 3)) == 0
        shard = {"name": name, "shard": f"{name}/{name}:27018,{name}b:27018", "state": "absent" if absent else "present"}
        zones = draw(st.none() | st.lists(st.sampled_from(ZONES), unique=True)) if not absent else None
        shards.append({**shard, "zones": zones, "allow": ["move_primary"] if draw(st.integers(0, 3)) else []})
    collections = []
    for name in draw(st.lists(st.sampled_from(["x", "y", "z"]), unique=True)):
        key = draw(st.sampled_from(KEYS))
        hashed = "hashed" in next(iter(key[0].values())) if isinstance(next(iter(key[0].values())), str) else False
        (field,) = key[0]
        collections.append(
            {
                "database": "linda",
                "collection": name,
                "keys": key,
                "zones": draw(st.none() | ranges(key, ZONES)),
                "split_points": [] if hashed else [{field: point} for point in draw(st.sets(st.integers(0, 5), max_size=2))],
                "allow": draw(st.sampled_from([["refine", "reshard"], ["refine"], ["refine", "reshard"], ["reshard"], []])),
            }
        )
    window = draw(st.sampled_from([None, {"state": "absent"}, {"start": "22:00", "stop": "04:30"}]))
    state = draw(st.sampled_from([None, "started", "started", "stopped"]))
    return {"shards": shards, "collections": collections, "window": window, "balancer_state": state}


def homeless(model: Model) -> set[tuple[str, str]]:
    """Ranges whose zone no shard that stays is in."""
    carried = {zone for shard in model.shards.values() if not shard.get("draining") for zone in shard.get("tags", [])}
    return {(namespace, one["tag"]) for namespace, tags in model.tags.items() for one in tags if one["tag"] not in carried}


def keys_of(model: Model) -> dict[str, list[tuple[str, Any]]]:
    return {namespace: list(one["key"].items()) for namespace, one in model.collections.items()}


@settings(max_examples=400, deadline=None)
@given(models(), descriptions())
def test_any_plan_reaches_the_goal_and_every_prefix_is_safe(model: Model, params: dict[str, Any]) -> None:
    link = LocalLink(model)
    before = copy.deepcopy((model.shards, model.collections, model.tags, model.settings, model.databases))
    try:
        _observed, steps = see(link, params)
    except MongodbError as refused:
        event(f"refused: {refused.code}")
        assert before == (model.shards, model.collections, model.tags, model.settings, model.databases)
        return
    finally:
        assert set(model.sent()) <= READING
    allowed = {f"linda.{one['collection']}" for one in params["collections"] if one["allow"]}
    keys, primaries = keys_of(model), {shard["name"] for shard in params["shards"] if "move_primary" not in shard["allow"]}
    home = model.databases["linda"]["primary"]
    old_ranges = {namespace: model.tags.get(namespace, []) for namespace in ("linda.x", "linda.y")}
    for place, step in enumerate(steps):
        event(step.action)
        # A run that is cut off here: what the next one changes is what was left, or less.
        _seen, rest = see(link, params)
        assert {one.reason for one in rest if not one.wait} <= {one.reason for one in steps[place:]}
        carry_out(link, step, [], 5, 0)  # type: ignore[arg-type]
        assert any(not shard.get("draining") for shard in model.shards.values())
        assert homeless(model) == set(), step
        changed = {namespace for namespace, key in keys_of(model).items() if namespace in keys and keys[namespace] != key}
        assert changed <= allowed
        assert model.databases["linda"]["primary"] == home or home not in primaries
    observed, rest = see(link, params)
    assert rest == []
    for shard in params["shards"]:
        assert (shard["name"] in model.shards) == (shard["state"] == "present")
        if shard["zones"] is not None:
            assert set(model.shards[shard["name"]].get("tags", [])) == set(shard["zones"])
    for one in params["collections"]:
        namespace = f"linda.{one['collection']}"
        assert model.collections[namespace]["key"] == {field: kind for entry in one["keys"] for field, kind in entry.items()}
        if one["zones"] is not None:
            assert len(model.tags.get(namespace, [])) == len(one["zones"])
    described = {f"linda.{one['collection']}" for one in params["collections"]}
    for namespace in {"linda.x", "linda.y"} - described:
        assert model.tags.get(namespace, []) == old_ranges[namespace], "what is not described was touched"
        assert keys_of(model).get(namespace) == keys.get(namespace)
    if params["window"] is not None:
        assert observed.window == ((params["window"]["start"], params["window"]["stop"]) if "start" in params["window"] else ())
    if params["balancer_state"] is not None:
        assert observed.running == (params["balancer_state"] == "started")


@settings(max_examples=100, deadline=None)
@given(models(), descriptions())
def test_the_picture_shows_a_difference_when_there_is_a_plan(model: Model, params: dict[str, Any]) -> None:
    desired = parse_desired({**params, "collections": [{**one, "split_points": []} for one in params["collections"]]}) if not (
        params["balancer_state"] == "stopped" and any(one["state"] == "absent" for one in params["shards"])
    ) else parse_desired({})  # fmt: skip
    link = LocalLink(model)
    observed = observe(link, desired, link.command("hello"))  # type: ignore[arg-type]
    try:
        steps = plan(desired, replace(observed, enabled=None))
    except MongodbError:
        return
    before, after = picture(desired, observed, steps)
    assert (before != after) == bool(steps)


# -------------------------------------------------------------------------------------------------------------------------- drift

DRIFTS: dict[str, Callable[[Model], Any]] = {
    "key of a collection": lambda model: model.collections["linda.messages"].update(key={"user_id": 1}),
    "zone of a shard": lambda model: model.shards["one"].update(tags=["eu", "us"]),
    "no zone": lambda model: model.shards["two"].update(tags=["eu"]),
    "range gone": lambda model: model.tags.clear(),
    "range moved": lambda model: model.tags["linda.entities"][0].update(max={"owner": ObjectId("7" * 24), "seen": MinKey()}),
    "range added": lambda model: model.tags["linda.entities"].append(
        {"tag": "eu", "min": {"owner": ObjectId("9" * 24), "seen": MinKey()}, "max": {"owner": MaxKey(), "seen": MaxKey()}}
    ),
    "collection not sharded": lambda model: [model.collections.pop("linda.messages"), model.starts.pop("linda.messages")],
    "balancer stopped": lambda model: model.settings["balancer"].update(stopped=True, mode="off"),
    "window moved": lambda model: model.settings["balancer"].update(activeWindow={"start": "02:00", "stop": "05:00"}),
    "shard gone": lambda model: model.shards.pop("two"),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_drift_is_shown_and_then_repaired(what: str) -> None:
    model = cluster()
    link, description = LocalLink(model), copy.deepcopy(DESCRIPTION)
    assert see(link, description)[1] == []
    DRIFTS[what](model)
    description["collections"][0]["allow"] = ["reshard"]
    observed, steps = see(link, description)
    before, after = picture(parse_desired(description), observed, steps)
    assert before != after
    for step in steps:
        carry_out(link, step, [], 5, 0)  # type: ignore[arg-type]
    assert see(link, description)[1] == []
    assert {name: tags for name, tags in model.tags.items() if tags} == cluster().tags


# ------------------------------------------------------------------------------------------------------------------ this and that


def seen(**more: Any) -> Observed:
    return Observed(
        **{
            "shards": {"one": ShardSeen("one", ("h1:27018",), frozenset({"eu"})), "two": ShardSeen("two", ("h2:27018",))},
            "databases": {"linda": "one"},
            **more,
        }
    )


def actions(params: dict[str, Any], observed: Observed) -> list[tuple[str, str]]:
    return [(step.action, step.target) for step in plan(parse_desired(params), observed)]


def test_a_new_cluster_in_order() -> None:
    params = {
        "shards": [{**ONE, "zones": ["eu"]}, TWO],
        "collections": [MESSAGES, {**ENTITIES, "zones": [EU], "split_points": [{"region": "m"}]}],
        "window": {"start": "01:00", "stop": "05:00"},
    }
    assert actions(params, Observed({}, enabled=frozenset())) == [
        ("set_window", "balancer"),
        ("add_shard", "one"),
        ("add_shard", "two"),
        ("add_zone", "one"),
        ("enable_sharding", "linda"),
        ("shard_collection", "linda.messages"),
        ("add_range", "linda.entities"),
        ("shard_collection", "linda.entities"),
        ("split", "linda.entities"),
    ]


def test_members_of_a_shard_may_differ() -> None:
    assert actions({"shards": [{**ONE, "shard": "one/h7:27018,h8"}]}, seen()) == []


def test_a_drain_is_resumed_and_databases_spread() -> None:
    observed = seen(
        shards={**seen().shards, "three": ShardSeen("three", ("h3:27018",), draining=True)},
        databases={"a": "three", "b": "three", "c": "one"},
    )
    params = {"shards": [{"name": "three", "state": "absent", "allow": ["move_primary"]}]}
    assert [step.reason for step in plan(parse_desired(params), observed)] == [
        "wait until shard three has no chunks",
        "make two the primary shard of a, in place of three",
        "make one the primary shard of b, in place of three",
        "remove shard three when it is empty",
    ]


def test_resharding_carries_the_new_ranges() -> None:
    there = frozenset({Range("eu", ("region",), (parse_value("a"),), (parse_value("b"),))})
    observed = seen(collections={"linda.entities": CollectionSeen((("region", 1),))}, ranges={"linda.entities": there})
    described = {**ENTITIES, "keys": [{"country": 1}], "zones": [{"zone": "eu", "min": {"country": 1}, "max": {"country": 2}}]}
    removed, resharded = plan(parse_desired({"collections": [{**described, "allow": ["reshard"]}]}), observed)
    assert (removed.action, removed.fields["min"], removed.fields["zone"]) == ("remove_range", {"region": "a"}, None)
    assert (resharded.action, resharded.fields["zones"]) == ("reshard", [{"zone": "eu", "min": {"country": 1}, "max": {"country": 2}}])
    with pytest.raises(MongodbError, match=r"allow: \[reshard\]"):
        plan(parse_desired({"collections": [described]}), observed)


@given(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([{"$minKey": 1}, {"$maxKey": 1}, {"$oid": "0123456789abcdef01234567"}, {"$date": "2026-01-02T03:04:05.678+00:00"}])
)
def test_values_come_back_from_plain_data_and_from_the_wire(raw: Any) -> None:
    value = parse_value(raw)
    assert parse_value(plain(value)) == value
    assert from_wire(to_wire(plain(value))) == value


def test_values_in_the_order_of_the_server() -> None:
    rising = [MinKey(), None, Int64(5), 7.5, "a", ObjectId("0" * 24), False, True, MaxKey()]
    values = [from_wire(value) for value in rising]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (MIN_KEY, MAX_KEY)
    assert from_wire(b"raw") not in values


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("bad_shard", "Shard ''", {"shards": [{"name": "", "shard": "one/h1"}]}),
    ("bad_shard", "config is taken", {"shards": [{"name": "config", "shard": "one/h1"}]}),
    ("bad_shard", "shard is missing", {"shards": [{"name": "one"}]}),
    ("bad_shard", "a shard is a replica set", {"shards": [{"name": "one", "shard": "h1:27018"}]}),
    ("bad_shard", "one/h 1", {"shards": [{"name": "one", "shard": "one/h 1"}]}),
    ("bad_shard", "names a host twice", {"shards": [{"name": "one", "shard": "one/h1,H1:27017"}]}),
    ("duplicate_shard", "Shard one", {"shards": [ONE, {**TWO, "name": "one"}]}),
    ("duplicate_shard", "Replica set one", {"shards": [ONE, {**ONE, "name": "two"}]}),
    ("bad_zone", "zones: ''", {"shards": [{**ONE, "zones": [""]}]}),
    ("bad_zone", "that is to leave", {"shards": [{"name": "one", "state": "absent", "zones": ["eu"]}]}),
    ("bad_allow", "did you mean move_primary?", {"shards": [{**ONE, "allow": ["move_primaries"]}]}),
    ("bad_allow", "did you mean reshard?", {"collections": [{**MESSAGES, "allow": ["resharding"]}]}),
    ("drain_needs_balancer", "balancer_state", {"shards": [{"name": "one", "state": "absent"}], "balancer_state": "stopped"}),
    ("bad_namespace", "database 'config'", {"collections": [{**MESSAGES, "database": "config"}]}),
    ("bad_namespace", "database 'a.b'", {"collections": [{**MESSAGES, "database": "a.b"}]}),
    ("bad_namespace", "'system.users'", {"collections": [{**MESSAGES, "collection": "system.users"}]}),
    ("bad_namespace", "''", {"collections": [{**MESSAGES, "collection": ""}]}),
    ("duplicate_collection", "linda.messages", {"collections": [MESSAGES, MESSAGES]}),
    ("bad_keys", "the order counts", {"collections": [{**MESSAGES, "keys": {"a": 1, "b": 1}}]}),
    ("bad_keys", "keys is empty", {"collections": [{**MESSAGES, "keys": []}]}),
    ("bad_keys", "keys is empty or not a list", {"collections": [{**MESSAGES, "keys": "user_id"}]}),
    ("bad_keys", "user_id is -1", {"collections": [{**MESSAGES, "keys": [{"user_id": -1}]}]}),
    ("bad_keys", "user_id is 'text'", {"collections": [{**MESSAGES, "keys": [{"user_id": "text"}]}]}),
    ("bad_keys", "a field twice", {"collections": [{**MESSAGES, "keys": [{"a": 1}, {"a": "hashed"}]}]}),
    ("bad_keys", "at most one", {"collections": [{**MESSAGES, "keys": [{"a": "hashed"}, {"b": "hashed"}]}]}),
    ("bad_keys", "not the name of a field", {"collections": [{**MESSAGES, "keys": [{"$a": 1}]}]}),
    ("bad_keys", "unique with a hashed key", {"collections": [{**MESSAGES, "unique": True}]}),
    ("bad_range", "zones[0].min", {"collections": [{**ENTITIES, "zones": [{**EU, "min": {"user_id": 1}}]}]}),
    ("bad_range", "zones[0].max", {"collections": [{**ENTITIES, "zones": [{**EU, "max": {}}]}]}),
    ("bad_range", "is not below", {"collections": [{**ENTITIES, "zones": [{**EU, "max": {"region": "de"}}]}]}),
    ("bad_range", "$oid", {"collections": [{**ENTITIES, "zones": [{**EU, "max": {"region": {"$oid": "x"}}}]}]}),
    (
        "bad_range",
        "user_id is hashed",
        {"collections": [{**MESSAGES, "zones": [{**EU, "min": {"user_id": "a"}, "max": {"user_id": "b"}}]}]},
    ),
    ("bad_zone", "zone = None", {"collections": [{**ENTITIES, "zones": [{**EU, "zone": None}]}]}),
    (
        "overlapping_ranges",
        "eu: 'de' to 'df' and us: 'dea' to 'fr' overlap",
        {"collections": [{**ENTITIES, "zones": [EU, {"zone": "us", "min": {"region": "dea"}, "max": {"region": "fr"}}]}]},
    ),
    ("bad_split", "use split_points", {"collections": [{**ENTITIES, "num_initial_chunks": 4}]}),
    ("bad_split", "1 to 8192", {"collections": [{**MESSAGES, "num_initial_chunks": 0}]}),
    ("bad_split", "use num_initial_chunks", {"collections": [{**MESSAGES, "split_points": [{"user_id": 4}]}]}),
    ("bad_split", "a point twice", {"collections": [{**ENTITIES, "split_points": [{"region": "a"}, {"region": "a"}]}]}),
    ("bad_split", "and zones", {"collections": [{**MESSAGES, "presplit_hashed_zones": True}]}),
    ("bad_window", "start = '1:00'", {"window": {"start": "1:00", "stop": "05:00"}}),
    ("bad_window", "start = 3600", {"window": {"start": 3600, "stop": "05:00"}}),
    ("bad_window", "stop = None", {"window": {"start": "01:00"}}),
    ("bad_window", "never run", {"window": {"start": "01:00", "stop": "01:00"}}),
]


@pytest.mark.parametrize(("code", "says", "params"), BAD)
def test_bad_input_is_refused_before_anything_is_asked(code: str, says: str, params: dict[str, Any]) -> None:
    with pytest.raises(MongodbError) as refused:
        parse_desired(params)
    assert refused.value.code == code
    assert says in refused.value.message


LEAVING: dict[str, Any] = {"name": "one", "state": "absent", "allow": ["move_primary"]}
REFUSED: list[tuple[str, dict[str, Any], Callable[[], Observed]]] = [
    ("shard_name_taken", {"shards": [{**ONE, "shard": "other/h9"}]}, seen),
    ("shard_known_as", {"shards": [{**ONE, "name": "first"}]}, seen),
    ("shard_is_leaving", {"shards": [ONE]}, lambda: seen(shards={"one": ShardSeen("one", (), draining=True), "two": ShardSeen("two", ())})),
    ("last_shard", {"shards": [LEAVING]}, lambda: seen(shards={"one": ShardSeen("one", ())})),
    ("last_shard", {"shards": [LEAVING]}, lambda: seen(shards={"one": ShardSeen("one", ()), "two": ShardSeen("two", (), draining=True)})),
    ("drain_needs_balancer", {"shards": [LEAVING]}, lambda: seen(running=False)),
    ("shard_is_primary", {"shards": [{"name": "one", "state": "absent"}]}, seen),
    ("zone_without_shard", {"collections": [{**ENTITIES, "zones": [{**EU, "zone": "us"}]}]}, seen),
    ("zone_without_shard", {"shards": [{**ONE, "zones": []}], "collections": [{**ENTITIES, "zones": [EU]}]}, seen),
    (
        "zone_without_shard",
        {"shards": [LEAVING]},
        lambda: seen(ranges={"linda.x": frozenset({Range("eu", ("a",), (MIN_KEY,), (MAX_KEY,))})}),
    ),
    (
        "ranges_of_other_key",
        {"collections": [MESSAGES]},
        lambda: seen(ranges={"linda.messages": frozenset({Range("eu", ("a",), (MIN_KEY,), (MAX_KEY,))})}),
    ),
    ("reshard_not_allowed", {"collections": [MESSAGES]}, lambda: seen(collections={"linda.messages": CollectionSeen((("user_id", 1),))})),
    (
        "reshard_not_allowed",
        {"collections": [{**ENTITIES, "unique": True, "allow": ["reshard"]}]},
        lambda: seen(collections={"linda.entities": CollectionSeen((("a", 1),), unique=True)}),
    ),
    ("refine_not_allowed", {"collections": [ENTITIES]}, lambda: seen(collections={"linda.entities": CollectionSeen((("region", 1),))})),
    (
        "unique_differs",
        {"collections": [ENTITIES]},
        lambda: seen(collections={"linda.entities": CollectionSeen((("region", 1),), unique=True)}),
    ),
    (
        "reshard_needs_zones",
        {"collections": [{**MESSAGES, "allow": ["reshard"]}]},
        lambda: seen(
            collections={"linda.messages": CollectionSeen((("a", 1),))},
            ranges={"linda.messages": frozenset({Range("eu", ("a",), (MIN_KEY,), (MAX_KEY,))})},
        ),
    ),
]


@pytest.mark.parametrize(("code", "params", "observed"), REFUSED)
def test_what_a_cluster_cannot_take_is_refused(code: str, params: dict[str, Any], observed: Callable[[], Observed]) -> None:
    with pytest.raises(MongodbError) as refused:
        plan(parse_desired(params), observed())
    assert refused.value.code == code
