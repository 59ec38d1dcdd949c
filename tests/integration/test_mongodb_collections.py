"""mongodb_collections as a real module run against a real mongod: drift, refusals, check mode, and the way in by addresses."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from checks_support import free_port
from mongodb_support import ADMIN_WORD, READING, Bench, Mongod, run

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
DEBIAN = Path("/usr/lib/python3/dist-packages")
LOOKING = READING | {"listCollections", "count"}
NAMED = {"$jsonSchema": {"bsonType": "object", "required": ["name"], "properties": {"name": {"bsonType": "string"}}}}
AGED = {"$jsonSchema": {"bsonType": "object", "required": ["name", "age"], "properties": {"age": {"bsonType": ["int", "long"]}}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One member with an administrator."""
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    bench = Bench(binary, tmp_path_factory.mktemp("collections"))
    try:
        yield with_admin(bench)
    finally:
        bench.stop()


def with_admin(bench: Bench) -> Mongod:
    """A set of one member with an administrator, made without the modules under test."""
    (made,) = bench.start(1)
    with made.client() as client:
        client.admin.command("replSetInitiate", {"_id": made.set_name, "members": [{"_id": 0, "host": made.host}]})
        bench.primary()
        client.admin.command("createUser", "admin", pwd=ADMIN_WORD, roles=["root"])
    return made


@pytest.fixture
def client(server: Mongod) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    with server.client("admin") as made:
        yield made
        for name in made.list_database_names():
            if name not in ("admin", "config", "local"):
                made.drop_database(name)


def login(server: Mongod, *collections: dict[str, Any], **more: Any) -> dict[str, Any]:
    described = [{"database": "shop", **collection} for collection in collections]
    return {
        "login_host": "localhost",
        "login_port": server.port,
        "login_user": "admin",
        "login_password": ADMIN_WORD,
        "ssl": True,
        "ssl_ca_certs": str(server.authority.file),
        "timeout": 10,
        "collections": described,
        **more,
    }


def reconcile(server: Mongod, *collections: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Check, run, check, run: the first two agree, the last two find nothing. Returns the result of the first run."""
    arguments = login(server, *collections, **more)
    begin = server.log.stat().st_size
    predicted = run("mongodb_collections", arguments, check=True)
    assert set(server.commands_of_modules(begin)) <= LOOKING
    done = run("mongodb_collections", arguments)
    assert done.get("failed") is not True, done
    assert (predicted["plan"], predicted["diff"]) == (done["steps_done"], done["diff"])
    assert predicted["steps_done"] == []
    assert predicted["changed"] == done["changed"] == bool(done["plan"])
    for check in (True, False):
        again = run("mongodb_collections", arguments, check=check)
        assert (again.get("changed"), again.get("plan")) == (False, []), again
        assert again["diff"]["before"] == again["diff"]["after"]
    return done


def refused(server: Mongod, code: str, *collections: dict[str, Any], check: bool = False, **more: Any) -> str:
    """A run refuses, and nothing is written. Returns the message."""
    begin = server.log.stat().st_size
    result = run("mongodb_collections", login(server, *collections, **more), check=check)
    assert (result.get("failed"), result.get("code"), result.get("steps_done")) == (True, code, []), result
    assert set(server.commands_of_modules(begin)) <= LOOKING
    return str(result["msg"])


def reasons(result: dict[str, Any]) -> list[str]:
    return [step["reason"] for step in result["steps_done"]]


def options(client: pymongo.MongoClient[dict[str, Any]], name: str) -> dict[str, Any]:
    return dict(client.shop[name].options())


def test_every_kind_of_collection_is_made_once(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    done = reconcile(
        server,
        {"collection": "plain"},
        {"collection": "judged", "validator": NAMED, "validation_level": "moderate", "validation_action": "warn"},
        {"collection": "bounded", "capped": {"size": 5000, "max": 10}},
        {"collection": "series", "timeseries": {"time_field": "at", "meta_field": "of"}, "expire_after_seconds": 600},
        {"collection": "ordered", "clustered": {"name": "by_id"}, "expire_after_seconds": 600},
        {"collection": "german", "collation": {"locale": "de", "strength": 1}},
        {"collection": "canadian", "collation": {"locale": "fr_CA"}},
        {"collection": "binary", "collation": {"locale": "simple"}},
        {"collection": "watched", "pre_and_post_images": True},
    )
    assert reasons(done)[:3] == [
        "create shop.plain, an ordinary collection",
        "create shop.judged, an ordinary collection",
        "create shop.bounded, a capped collection",
    ]
    assert options(client, "judged") == {"validator": NAMED, "validationLevel": "moderate", "validationAction": "warn"}
    assert options(client, "bounded") == {"capped": True, "size": 5120, "max": 10}
    assert options(client, "series")["timeseries"]["metaField"] == "of"
    assert options(client, "ordered")["clusteredIndex"]["name"] == "by_id"
    client.shop.command("collMod", "judged", validationAction="error")
    with pytest.raises(pymongo.errors.WriteError):
        client.shop.judged.insert_one({"name": 1})


# What somebody changes behind the module's back, and the description that stays. Each is seen by check mode and repaired.
DRIFTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "validator_changed": ({"validator": NAMED}, {"validator": {"name": {"$exists": True}}}, "validator"),
    "validator_removed": ({"validator": NAMED}, {"validator": {}}, "validator"),
    "validator_added": ({"validator": {}}, {"validator": NAMED}, "validator"),
    "number_in_the_validator": ({"validator": {"n": {"$gte": 1}}}, {"validator": {"n": {"$gte": 2}}}, "validator"),
    "true_is_not_one": ({"validator": {"n": 1}}, {"validator": {"n": True}}, "validator"),
    "judging_switched_off": ({"validator": NAMED}, {"validationLevel": "off"}, "validation_level"),
    "only_warned": ({"validator": NAMED}, {"validationAction": "warn"}, "validation_action"),
    "images": ({"pre_and_post_images": True}, {"changeStreamPreAndPostImages": {"enabled": False}}, "pre_and_post_images"),
    "capped_smaller": ({"capped": {"size": 10000}}, {"cappedSize": 4096}, "capped"),
    "capped_bound": ({"capped": {"size": 10000}}, {"cappedMax": 7}, "capped"),
    "series_expire_never": (
        {"timeseries": {"time_field": "at"}, "expire_after_seconds": 60, "allow": ["lower_expiry"]},
        {"expireAfterSeconds": "off"},
        "expire_after_seconds",
    ),
    "series_expire_sooner": (
        {"timeseries": {"time_field": "at"}, "expire_after_seconds": 60},
        {"expireAfterSeconds": 5},
        "expire_after_seconds",
    ),
    "clustered_expire": ({"clustered": {}, "expire_after_seconds": -1}, {"expireAfterSeconds": 5}, "expire_after_seconds"),
}


def test_drift_is_shown_and_repaired(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    described = [{"collection": kind, **description} for kind, (description, _change, _named) in DRIFTS.items()]
    assert len(run("mongodb_collections", login(server, *described))["steps_done"]) == len(DRIFTS)
    before = {kind: effective(client, kind) for kind in DRIFTS}
    for kind, (_description, change, _named) in DRIFTS.items():
        client.shop.command("collMod", kind, **change)
        assert effective(client, kind) != before[kind], kind
    done = reconcile(server, *described)
    assert reasons(done) == [f"change {named} of shop.{kind}" for kind, (_description, _change, named) in DRIFTS.items()]
    assert {kind: effective(client, kind) for kind in DRIFTS} == before


def effective(client: pymongo.MongoClient[dict[str, Any]], name: str) -> str:
    """The server's options as text, in which true is not 1, without what has no effect: a level without a validator, no bound."""
    found = options(client, name)
    inert = () if found.get("validator") else ("validator", "validationLevel", "validationAction")
    shown = {key: value for key, value in sorted(found.items()) if key not in inert and (key, value) != ("max", 2**31 - 1)}
    return str(shown).replace("{'enabled': False}", "")


def test_what_is_not_described_is_left_alone_and_can_be_reported(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    client.shop.create_collection("other")
    client.shop.create_collection("view", viewOn="other", pipeline=[])
    client.shop.create_collection("ours", validator=NAMED, validationAction="warn", changeStreamPreAndPostImages={"enabled": True})
    before = options(client, "ours")
    done = reconcile(server, {"collection": "ours"}, unmanaged="report")
    assert (done["unmanaged"], done["changed"]) == (["shop.other", "shop.view"], False)
    assert "left alone: shop.other, shop.view" in str(done["warnings"])
    assert run("mongodb_collections", login(server, {"collection": "ours"}))["unmanaged"] == []
    assert options(client, "ours") == before
    assert set(client.shop.list_collection_names()) == {"other", "view", "ours", "system.views"}


def test_documents_that_would_not_pass_are_counted_first(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    client.shop.people.insert_many([{"name": f"n{number}", **({"age": number} if number > 2 else {})} for number in range(10)])
    people = {"collection": "people", "validator": AGED}
    assert "shop.people: 3 documents would not pass the validator" in refused(server, "invalid_documents", people)
    begun = reconcile(server, {**people, "validation_action": "warn"})
    assert begun["counted"] == [{"what": "invalid", "collection": "shop.people", "documents": 3}]
    assert "3 documents would not pass" in str(begun["warnings"])
    # From warn to error and from moderate to strict is stricter too; moderate does not hinder the documents that are there.
    assert "3 documents" in refused(server, "invalid_documents", people)
    moderate = reconcile(server, {**people, "validation_level": "moderate"})
    assert "3 documents would not pass" in str(moderate["warnings"])
    client.shop.people.update_one({"name": "n0"}, {"$set": {"seen": True}})
    assert "3 documents" in refused(server, "invalid_documents", people)
    client.shop.people.update_many({"age": {"$exists": False}}, {"$set": {"age": 1}})
    assert reasons(reconcile(server, people)) == ["change validation_level of shop.people"]
    # Loosening needs no look at the documents.
    assert reconcile(server, {**people, "validation_action": "warn"})["counted"] == []


def test_a_validator_over_invalid_documents_can_be_allowed_by_name(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    client.shop.people.insert_one({"name": "nobody"})
    done = reconcile(server, {"collection": "people", "validator": AGED, "allow": ["invalid_documents"]})
    assert "1 documents would not pass the validator, and updates of them would fail; it is done because" in str(done["warnings"])


def test_counting_ends_in_time(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    client.shop.people.insert_many([{"name": "nobody"} for _number in range(300)])
    slow = {"$expr": {"$gt": [{"$reduce": {"input": {"$range": [0, 100_000]}, "initialValue": 0, "in": {"$add": ["$$value", 1]}}}, 0]}}
    people = {"collection": "people", "validator": slow}
    assert "unknown number" in refused(server, "count_timed_out", people, count_timeout=1)


def test_deleting_by_expiry_or_bounds_is_refused_unless_allowed(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    series = {"collection": "series", "timeseries": {"time_field": "at"}}
    bounded = {"collection": "bounded", "capped": {"size": 100000, "max": 100}}
    reconcile(server, {**series, "expire_after_seconds": 86400}, bounded)
    now = datetime.datetime.now(datetime.UTC)
    client.shop.series.insert_many([{"at": now - datetime.timedelta(minutes=minutes)} for minutes in (1, 90, 120)])
    sooner = {**series, "expire_after_seconds": 3600}
    assert "expire_after_seconds 86400 -> 3600 deletes 2 documents" in refused(server, "lowers_expiry", sooner)
    assert reasons(reconcile(server, {**sooner, "allow": ["lower_expiry"]})) == ["change expire_after_seconds of shop.series"]
    smaller = {"collection": "bounded", "capped": {"size": 100000, "max": 10}}
    assert "99840" not in refused(server, "shrinks_capped", smaller)
    assert reasons(reconcile(server, smaller, allow=["shrink_capped"])) == ["change capped of shop.bounded"]
    reconcile(server, {**series, "expire_after_seconds": -1}, {"collection": "bounded", "capped": {"size": 200000}})
    assert "expireAfterSeconds" not in options(client, "series")


def test_what_cannot_be_changed_is_refused_with_both_values(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    client.shop.create_collection("plain")
    client.shop.create_collection("view", viewOn="plain", pipeline=[])
    client.shop.create_collection("bounded", capped=True, size=4096)
    client.shop.create_collection("series", timeseries={"timeField": "at", "metaField": "of", "granularity": "minutes"})
    client.shop.create_collection("german", collation={"locale": "de"})
    client.shop.create_collection("ordered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by_id"})
    series = {"time_field": "at", "meta_field": "of", "granularity": "minutes"}
    plain = [{"collection": name} for name in ("bounded", "view", "series", "ordered")]
    # Check mode and a run refuse alike.
    for check in (True, False):
        message = refused(server, "wrong_kind", {"collection": "plain", "capped": {"size": 4096}}, *plain, check=check)
    for kinds in (
        "an ordinary collection, and a capped",
        "a capped collection, and an ordinary",
        "a view, and an",
        "a time series",
        "a clustered",
    ):
        assert f" is {kinds}" in message
    changed = {"time_field": "when", "meta_field": "who", "granularity": "seconds"}
    clustered = {"collection": "ordered", "clustered": {"name": "other"}}
    german = {"collection": "german", "collation": {"locale": "de", "strength": 1}}
    message = refused(server, "read_only_property", {"collection": "series", "timeseries": changed}, clustered, german)
    for option, value in changed.items():
        assert f"timeseries.{option}" in message
        assert f"'{series[option]}', and '{value}' is described" in message
    assert "'by_id', and 'other' is described" in message
    assert "'strength': 1" in message
    # All that is wrong is said at once, and nothing of the rest is done.
    message = refused(server, "wrong_kind", {"collection": "new"}, {"collection": "bounded"}, {"collection": "german"})
    assert "shop.bounded" in message
    assert "shop.german" in message
    assert "new" not in client.shop.list_collection_names()
    done = reconcile(server, {"collection": "series", "timeseries": {**series, "granularity": "hours"}})
    assert reasons(done) == ["change timeseries.granularity of shop.series"]


def test_bad_input_is_refused_before_connecting() -> None:
    it = {"database": "shop", "collection": "it"}
    base = {"login_host": "localhost", "login_port": free_port(), "timeout": 1}
    assert run("mongodb_collections", {**base, "collections": [it, it]})["code"] == "duplicate_collection"
    assert run("mongodb_collections", {**base, "collections": [it], "count_timeout": 0})["code"] == "bad_option"
    assert "cappd" in run("mongodb_collections", {**base, "collections": [{**it, "cappd": {}}]})["msg"]
    assert "validation_level" in run("mongodb_collections", {**base, "collections": [{**it, "validation_level": "hard"}]})["msg"]
    silent = {"login_addresses": [f"127.0.0.1:{free_port()}" for _number in range(3)], "collections": [it]}
    refusal = run("mongodb_collections", silent)
    assert (refusal["code"], refusal["steps_done"]) == ("not_running", [])
    assert refusal["msg"].count("nothing answers there") == 3
    predicted = run("mongodb_collections", silent, check=True)
    assert (predicted["changed"], predicted["state"], len(predicted["plan"])) == (True, "not_running", 1)


def test_the_first_address_that_answers_is_the_way_in(server: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    arguments = {name: value for name, value in login(server, {"collection": "it"}).items() if name not in ("login_host", "login_port")}
    dead = f"127.0.0.1:{free_port()}"
    assert run("mongodb_collections", {**arguments, "login_addresses": [dead, "no-such-host.invalid", server.host]})["changed"]
    assert client.shop.list_collection_names() == ["it"]
    stranger = run("mongodb_collections", {**arguments, "login_addresses": [server.host], "replica_set": "other"})
    assert stranger["code"] == "wrong_set"


def test_debians_driver_does_the_same(
    server: Mongod, client: pymongo.MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    arguments = login(server, {"collection": "judged", "validator": NAMED}, {"collection": "series", "timeseries": {"time_field": "at"}})
    done = run("mongodb_collections", arguments, driver=path)
    assert len(done["steps_done"]) == 2, done
    assert run("mongodb_collections", arguments, driver=path)["changed"] is False
    client.shop.command("collMod", "judged", validationLevel="off")
    assert reasons(run("mongodb_collections", arguments, driver=path)) == ["change validation_level of shop.judged"]
