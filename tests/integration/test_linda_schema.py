"""The Linda model on a real mongod: every query that the model names is asked of generated data and has to use its index.

A query is good when its winning plan reads the index it is named for and no other, sorts nothing in memory, and looks at most at
twice as many documents and keys as it returns (`explain` with `executionStats`).
"""

from __future__ import annotations

import datetime
import hashlib
import os
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymongo
import pytest
import yaml
from ansible_collections.linda.ops.plugins.filter.mongodb_schema import mongodb_schema
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import run_all
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import parse_checks
from mongodb_support import ADMIN_WORD, Bench, Mongod, run

from lab.mirror import MirrorError, mongod_binary

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "playbooks" / "vars" / "linda_schema.yml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
SEED = 20260401
MONITOR_WORD = "Monitor-word-1"
USERS, CONVERSATIONS, MESSAGES = 300, 4, 25
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
# No query rests on the index of the shard key: it is there for the shards.
WITHOUT_QUERY = {"messages_shard_key"}


@dataclass(frozen=True)
class Query:
    """A query of the application. `key` is the field that a value is drawn for from what is stored."""

    collection: str
    filter: Mapping[str, Any]
    sort: Mapping[str, int] = field(default_factory=dict)
    limit: int = 0
    returns: int = 1


# Values in angle brackets are taken from a document of the collection.
QUERIES = {
    "users_user_id": Query("users", {"user_id": "<>"}),
    "users_phone": Query("users", {"phone": "<>"}),
    "users_recent": Query("users", {"status": "active"}, {"last_seen_at": -1}, 50, 50),
    "sessions_session_id": Query("sessions", {"session_id": "<>"}),
    "sessions_user": Query("sessions", {"user_id": "<>"}, {"updated_at": -1}, 1),
    "sessions_expiry": Query("sessions", {"expires_at": {"$lte": NOW + datetime.timedelta(hours=6)}}, {"expires_at": 1}, 100, 20),
    "messages_provider_id": Query("messages", {"user_id": "<>", "provider_message_id": "<>"}),
    "messages_conversation": Query("messages", {"user_id": "<>", "conversation_id": "<>"}, {"created_at": -1}, 50, MESSAGES),
    "messages_user": Query("messages", {"user_id": "<>"}, {"created_at": -1}, 20, 20),
    "messages_outbox": Query("messages", {"status": "queued"}, {"created_at": 1}, 100, 100),
    "entities_identity": Query("entities", {"user_id": "<>", "kind": "<>", "key": "<>"}),
    "entities_recent": Query("entities", {"user_id": "<>"}, {"updated_at": -1}, 20, 12),
    "entities_source": Query("entities", {"source_message_id": "<>"}),
    "conversations_conversation_id": Query("conversations", {"conversation_id": "<>"}),
    "conversations_user": Query("conversations", {"user_id": "<>"}, {"last_message_at": -1}, 10, CONVERSATIONS),
    "conversations_waiting": Query("conversations", {"status": "waiting"}, {"last_message_at": 1}, 50, 50),
    "media_media_id": Query("media_metadata", {"media_id": "<>"}),
    "media_message": Query("media_metadata", {"message_id": "<>"}),
    "media_sha256": Query("media_metadata", {"sha256": "<>"}, limit=1),
    "media_expiry": Query(
        "media_metadata", {"temporary": True, "expires_at": {"$lte": NOW + datetime.timedelta(hours=6)}}, {"expires_at": 1}, 100, 20
    ),
}


def databases(name: str = "linda") -> list[dict[str, Any]]:
    """The model as a playbook hands it to the role, in a database of this name."""
    text = MODEL.read_text().replace("{{ linda_schema_database | default('linda') }}", name)
    return list(yaml.safe_load(text)["linda_schema_databases"])


INDEXES = {index["name"]: index for entry in mongodb_schema(databases(), "indexes") for index in entry["indexes"]}


def chance() -> random.Random:
    """The same draws at every run."""
    return random.Random(SEED)  # noqa: S311  # data of a test


def login(server: Mongod, **more: Any) -> dict[str, Any]:
    return {
        "login_addresses": [server.host],
        "login_user": "admin",
        "login_password": ADMIN_WORD,
        "ssl": True,
        "ssl_ca_certs": str(server.authority.file),
        **more,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One member, with the model as the modules make it."""
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    bench = Bench(binary, tmp_path_factory.mktemp("linda"))
    try:
        (made,) = bench.start(1)
        with made.client() as client:
            client.admin.command("replSetInitiate", {"_id": made.set_name, "members": [{"_id": 0, "host": made.host}]})
            bench.primary()
            client.admin.command("createUser", "admin", pwd=ADMIN_WORD, roles=["root"])
        for module, part in (("mongodb_collections", "collections"), ("mongodb_indexes", "indexes")):
            done = run(module, login(made, collections=mongodb_schema(databases(), part)))
            assert done.get("changed"), done
        yield made
    finally:
        bench.stop()


@pytest.fixture(scope="module")
def linda(server: Mongod) -> Iterator[pymongo.database.Database[dict[str, Any]]]:
    """The database, filled. Each insert passes the model's validators, or the test ends here."""
    with server.client("admin") as client:
        for collection, documents in generated(chance()).items():
            client.linda[collection].insert_many(documents, ordered=False)
        yield client.linda


def generated(draw: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Some months of a bot's life, the same at every run but for the date it ends at.

    Nothing has expired yet: the server deletes what has, whenever it likes.
    """

    def ago(days: float) -> datetime.datetime:
        return NOW - datetime.timedelta(seconds=draw.randrange(int(days * 86400)))

    def later(days: float) -> datetime.datetime:
        return NOW + datetime.timedelta(seconds=draw.randrange(3600, int(days * 86400)))

    data: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("users", "sessions", "messages", "entities", "conversations", "media_metadata")
    }
    for number in range(USERS):
        user = f"u{number:05d}"
        status = draw.choices(["active", "blocked", "deleted"], [8, 1, 1])[0]
        seen = {"created_at": ago(300), "last_seen_at": ago(60)}
        data["users"].append({"user_id": user, "phone": f"+4915{number:08d}", "name": None, "locale": "de", "status": status, **seen})
        for place in range(draw.randrange(1, 4)):
            times = {"updated_at": ago(1), "expires_at": later(2)}
            data["sessions"].append({"session_id": f"s{number}-{place}", "user_id": user, "state": {"step": place}, **times})
        for place in range(12):
            fact = {"kind": draw.choice(["name", "date", "place"]), "key": f"k{place}", "value": draw.random(), "confidence": 0.5}
            source = {"source_message_id": f"wamid.{number}.{place}.0"} if place < CONVERSATIONS else {}
            data["entities"].append({"user_id": user, "updated_at": ago(90), **fact, **source})
        for place in range(CONVERSATIONS):
            talk = {"conversation_id": f"c{number}-{place}", "user_id": user}
            times = {"created_at": ago(300), "last_message_at": ago(60)}
            data["conversations"].append({**talk, "status": draw.choices(["open", "waiting", "closed"], [2, 1, 7])[0], **times})
            for turn in range(MESSAGES):
                queued = draw.random() < 0.02
                message = {**talk, "kind": "text", "text": "hello", "created_at": ago(200), "direction": "out" if queued else "in"}
                provider = (
                    {"status": "queued"} if queued else {"status": "received", "provider_message_id": f"wamid.{number}.{place}.{turn}"}
                )
                data["messages"].append(message | provider)
            data["media_metadata"].append(
                {
                    "media_id": f"m{number}-{place}",
                    "user_id": user,
                    "message_id": f"wamid.{number}.{place}.0",
                    "mime_type": "image/jpeg",
                    "size": draw.randrange(10**6),
                    "sha256": hashlib.sha256(str((number, place)).encode()).hexdigest(),
                    "temporary": draw.random() < 0.5,
                    "created_at": ago(10),
                    "expires_at": later(2),
                }
            )
    return data


def stages(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every stage of a winning plan."""
    yield plan
    for below in (plan.get("inputStage"), *plan.get("inputStages", [])):
        if below:
            yield from stages(below)


def explain(database: pymongo.database.Database[dict[str, Any]], query: Query) -> dict[str, Any]:
    """What the server says about a query with values of a stored document that has all of its fields."""
    asked = {name for name, value in query.filter.items() if value == "<>"}
    drawn = chance().choice(list(database[query.collection].find({name: {"$exists": True} for name in asked}, limit=500)))
    wanted = {name: drawn[name] if name in asked else value for name, value in query.filter.items()}
    command: dict[str, Any] = {"find": query.collection, "filter": wanted}
    command |= {"sort": dict(query.sort)} if query.sort else {}
    command |= {"limit": query.limit} if query.limit else {}
    return dict(database.command("explain", command, verbosity="executionStats"))


@pytest.mark.parametrize("name", QUERIES)
def test_a_named_query_uses_its_index_and_reads_little_more_than_it_returns(
    linda: pymongo.database.Database[dict[str, Any]], name: str
) -> None:
    query = QUERIES[name]
    answer = explain(linda, query)
    plan, figures = answer["queryPlanner"]["winningPlan"], answer["executionStats"]
    used = list(stages(plan.get("queryPlan", plan)))
    assert [stage["indexName"] for stage in used if "indexName" in stage] == [name], plan
    assert not {stage["stage"] for stage in used} & {"COLLSCAN", "SORT"}, plan
    assert figures["nReturned"] >= query.returns, "too little data to judge by"
    assert figures["totalDocsExamined"] <= 2 * figures["nReturned"], figures
    assert figures["totalKeysExamined"] <= 2 * figures["nReturned"], figures


def test_the_test_would_notice_a_query_without_its_index(linda: pymongo.database.Database[dict[str, Any]]) -> None:
    linda.command("collMod", "messages", index={"name": "messages_conversation", "hidden": True})
    try:
        answer = explain(linda, QUERIES["messages_conversation"])
    finally:
        linda.command("collMod", "messages", index={"name": "messages_conversation", "hidden": False})
    assert answer["executionStats"]["totalDocsExamined"] > 2 * answer["executionStats"]["nReturned"]


def test_every_index_says_why_it_is_there_and_which_query_it_serves() -> None:
    assert set(QUERIES) == set(INDEXES) - WITHOUT_QUERY
    comments: list[str] = []
    for line in MODEL.read_text().splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append(stripped)
            continue
        match = re.match(r"- \{?name: ((users|sessions|messages|entities|conversations|media)_\w+)", stripped)
        if match and match[1] in INDEXES:
            text = " ".join(comments)
            assert re.search(r"# Why: (performance|query|TTL|sharding)[.,] ", text), match[1]
            if match[1] not in WITHOUT_QUERY:
                query = QUERIES[match[1]]
                said = re.search(rf"# Query: {query.collection}\.find\((.*?)\)(\.sort\((.*?)\))?(\.limit\((\d+)\))?$", text)
                assert said, f"{match[1]}: {text}"
                assert set(re.findall(r"[{,] ?(\w+)", said[1])) == set(query.filter), match[1]
                assert yaml.safe_load(said[3] or "{}") == dict(query.sort), match[1]
                assert int(said[5] or 0) == query.limit, match[1]
        comments = []


def test_a_message_that_is_delivered_twice_is_stored_once(linda: pymongo.database.Database[dict[str, Any]]) -> None:
    message = linda.messages.find_one({"provider_message_id": {"$exists": True}}, {"_id": False})
    assert message is not None
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        linda.messages.insert_one(dict(message))
    # Two that the provider has not taken yet are two.
    waiting = {key: value for key, value in message.items() if key != "provider_message_id"}
    inserted = linda.messages.insert_many([dict(waiting), dict(waiting)]).inserted_ids
    assert linda.messages.delete_many({"_id": {"$in": inserted}}).deleted_count == 2


def test_validators_refuse_what_a_ttl_would_never_delete(linda: pymongo.database.Database[dict[str, Any]]) -> None:
    session = {"session_id": "x", "user_id": "u", "updated_at": NOW, "expires_at": NOW.isoformat()}
    with pytest.raises(pymongo.errors.WriteError, match="Document failed validation"):
        linda.sessions.insert_one(session)
    media = linda.media_metadata.find_one({}, {"_id": False})
    assert media is not None
    with pytest.raises(pymongo.errors.WriteError, match="Document failed validation"):
        linda.media_metadata.insert_one({**media, "media_id": "x", "temporary": "yes"})


def test_indexes_that_expire_are_the_ones_that_say_so(server: Mongod, linda: pymongo.database.Database[dict[str, Any]]) -> None:
    expiring = {
        index["name"]: (index["expireAfterSeconds"], index.get("partialFilterExpression"))
        for collection in linda.list_collection_names()
        for index in linda[collection].list_indexes()
        if "expireAfterSeconds" in index
    }
    assert expiring == {"sessions_expiry": (0, None), "media_expiry": (0, {"temporary": True})}


def test_a_second_run_over_the_filled_model_changes_nothing(server: Mongod, linda: pymongo.database.Database[dict[str, Any]]) -> None:
    for module, part in (("mongodb_collections", "collections"), ("mongodb_indexes", "indexes")):
        done = run(module, login(server, collections=mongodb_schema(databases(), part), unmanaged="report"))
        assert (done.get("changed"), done.get("unmanaged")) == (False, []), done


def test_the_check_of_the_role_sees_an_index_that_is_gone(server: Mongod, linda: pymongo.database.Database[dict[str, Any]]) -> None:
    linda.client.admin.command("createUser", "monitor", pwd=MONITOR_WORD, roles=["clusterMonitor"])
    check = {
        "name": "indexes", "host": "mongo1", "role": "schema", "type": "mongodb_indexes", "address": "127.0.0.1", "port": server.port,
        "ca_file": str(server.authority.file), "username": "monitor", "password_variable": "monitor_word", "retries": 0,
        "indexes": mongodb_schema(databases(), "index_checks"),
    }  # fmt: skip

    def seen(**more: Any) -> tuple[str, str]:
        (result,) = run_all(parse_checks([{**check, **more}]), {"mongo1": {"monitor_word": MONITOR_WORD}}, 1)
        return result.status, result.evidence if result.status == "pass" else result.reason

    assert seen() == ("pass", "21 indexes on 6 collections")
    linda.users.drop_index("users_phone")
    assert seen() == ("fail", "linda.users has no index users_phone")
    # Under another name it is the same index.
    linda.users.create_index("phone", unique=True, name="by_hand")
    assert seen() == ("pass", "21 indexes on 6 collections")
    nowhere = {"collection": "linda.nowhere", "name": "x", "keys": [{"x": 1}]}
    assert seen(indexes=[nowhere]) == ("fail", "linda.nowhere has no index x")
