"""mongodb_indexes as real module runs against real mongods: every drift, every refusal, kills, budgets."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.son import SON
from mongodb_support import ADMIN_WORD, APP_NAME, READING, Bench, Mongod, begin, inside, run
from pymongo.errors import DuplicateKeyError

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
DEBIAN = Path("/usr/lib/python3/dist-packages")
ADMIN = {"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}
READS = READING | {"listIndexes", "getParameter", "count", "aggregate", "find", "explain"}
# A build waits here, for as long as the test wants, after the collection was scanned.
HANG = "hangAfterStartingIndexBuild"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A set of one, with the server's own switches for stopping a build."""
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    made = Bench(binary, tmp_path_factory.mktemp("indexes"))
    try:
        begin_set(made, made.start(1, enableTestCommands=True))
        yield made
    finally:
        made.stop()


def begin_set(bench: Bench, servers: list[Mongod]) -> None:
    members = [{"host": server.host, "priority": 2 if server is servers[0] else 1} for server in servers]
    quick = {"election_timeout_millis": 1000, "heartbeat_interval_millis": 200}
    assert run("mongodb_replset", bench.login(servers[0], members=members, **quick))["changed"]
    assert run("mongodb_users", bench.login(servers[0], users=[ADMIN]))["changed"]


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with nothing but the pymongo of this Debian release."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    return path


class Database:
    """One collection of the server, described and looked at."""

    def __init__(self, bench: Bench, server: Mongod, name: str, collection: str = "c") -> None:
        self.bench, self.server, self.name, self.collection = bench, server, name, collection

    @property
    def label(self) -> str:
        return f"{self.name}.{self.collection}"

    def arguments(self, *indexes: dict[str, Any], **more: Any) -> dict[str, Any]:
        collections = [{"database": self.name, "collection": self.collection, "indexes": list(indexes)}]
        return self.bench.login(self.server, collections=collections, **more)

    def run(self, *indexes: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        return inside("mongodb_indexes", self.arguments(*indexes, **more), check=check)

    def settle(self, *indexes: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Check, run, and run again; what was predicted is done, and then nothing is left to do."""
        predicted = self.run(*indexes, check=True, **more)
        done = self.run(*indexes, **more)
        assert done.get("failed") is not True, done
        assert (done["changed"], done["plan"], done["diff"]) == (predicted["changed"], predicted["plan"], predicted["diff"])
        assert done["steps_done"] == done["plan"]
        again = self.run(*indexes, **more)
        assert (again["changed"], again["plan"]) == (False, []), again
        return done

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        with self.server.client("admin") as client:
            yield client[self.name]

    def listed(self) -> dict[str, dict[str, Any]]:
        with self.open() as database:
            return {index["name"]: index for index in database.command("listIndexes", self.collection)["cursor"]["firstBatch"]}

    def make(self, name: str, *keys: tuple[str, Any], **options: Any) -> None:
        """Create an index as somebody with a shell would."""
        with self.open() as database:
            database.command("createIndexes", self.collection, indexes=[{"name": name, "key": SON(keys), **options}])

    def change(self, name: str, **change: Any) -> None:
        with self.open() as database:
            database.command("collMod", self.collection, index={"name": name, **change})

    def remake(self, name: str, *keys: tuple[str, Any], **options: Any) -> None:
        with self.open() as database:
            database[self.collection].drop_index(name)
        self.make(name, *keys, **options)


@pytest.fixture
def db(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Database]:
    name = f"t{abs(hash(request.node.nodeid))}"
    database = Database(bench, bench.servers[0], name)
    yield database
    with database.server.client("admin") as client:
        client.admin.command("configureFailPoint", HANG, mode="off")
        client.drop_database(name)


def reasons(result: dict[str, Any]) -> list[str]:
    return [step["reason"].split(".c: ", 1)[1] for step in result["plan"]]


KINDS: list[dict[str, Any]] = [
    {"keys": [{"user_id": 1}, {"created_at": -1}]},
    {"keys": {"email": 1}, "unique": True, "collation": {"locale": "en", "strength": 2}},
    {"keys": {"seen": 1}, "expire_after_seconds": 3600},
    {"keys": {"phone": 1}, "sparse": True},
    {"keys": {"old": 1}, "hidden": True},
    {"keys": {"user_id": "hashed"}},
    {
        "keys": {"provider": 1},
        "unique": True,
        "partial_filter_expression": {"provider": {"$type": "string"}, "since": {"$gte": {"$date": "2026-01-01T00:00:00Z"}}},
    },
    {"keys": [{"kind": 1}, {"title": "text"}, {"body": "text"}], "weights": {"title": 10}, "default_language": "german", "name": "words"},
    {"keys": {"place": "2dsphere"}},
    {"keys": {"spot": "2d"}, "bits": 20, "min": -10, "max": 10},
    {"keys": {"$**": 1}, "wildcard_projection": {"extra.a": 1, "more": 1}},
    {"keys": {"name": 1}, "collation": {"locale": "fr_CA"}, "storage_engine": {"wiredTiger": {"configString": "prefix_compression=false"}}},
]


@pytest.mark.parametrize("pymongo_of", ["venv", "debian"])
def test_every_kind_in_four_steps(db: Database, pymongo_of: str, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue("debians_driver") if pymongo_of == "debian" else None
    arguments = db.arguments(*KINDS)
    size = db.server.log.stat().st_size
    predicted = run("mongodb_indexes", arguments, check=True, driver=driver)
    assert predicted["changed"], predicted
    assert predicted["steps_done"] == []
    sent = db.server.commands_of_modules(size)
    assert "listIndexes" in sent
    assert set(sent) <= READS
    done = run("mongodb_indexes", arguments, driver=driver)
    assert done.get("failed") is not True, done
    assert done["plan"] == predicted["plan"] == done["steps_done"]
    assert done["diff"] == predicted["diff"]
    size = db.server.log.stat().st_size
    for check in (True, False):
        again = run("mongodb_indexes", arguments, check=check, driver=driver)
        assert (again["changed"], again["plan"], again["state"]) == (False, [], "ready"), again
    assert set(db.server.commands_of_modules(size)) <= READS
    listed = db.listed()
    assert len(listed) == 1 + len(KINDS)
    assert listed["words"]["weights"] == {"title": 10, "body": 1}
    assert listed["provider_1"]["partialFilterExpression"]["since"] == {"$gte": datetime.datetime(2026, 1, 1)}


A = {"keys": {"a": 1}}
# (what the run was told, what somebody did behind its back, what to allow besides, what it says)
Drift = tuple[dict[str, Any], Callable[[Database], None], list[str], str]
DRIFTS: dict[str, Drift] = {
    "gone": (A, lambda db: _drop(db, "a_1"), [], "create a_1"),
    "hidden": (A, lambda db: db.change("a_1", hidden=True), [], "a_1: show it again to queries"),
    "shown": ({**A, "hidden": True}, lambda db: db.change("a_1", hidden=False), [], "a_1: hide it"),
    "ttl raised": (
        {**A, "expire_after_seconds": 60},
        lambda db: db.change("a_1", expireAfterSeconds=90),
        ["lower_ttl"],
        "a_1: expire_after_seconds 90 -> 60",
    ),
    "ttl lowered": (
        {**A, "expire_after_seconds": 60},
        lambda db: db.change("a_1", expireAfterSeconds=30),
        [],
        "a_1: expire_after_seconds 30 -> 60",
    ),
    "ttl lost": (
        {**A, "expire_after_seconds": 60},
        lambda db: db.remake("a_1", ("a", 1)),
        [],
        "a_1: expire_after_seconds none -> 60",
    ),
    "ttl added": (A, lambda db: db.change("a_1", expireAfterSeconds=10**8), ["rebuild"], "stand in for a_1"),
    "unique lost": ({**A, "unique": True}, lambda db: db.remake("a_1", ("a", 1)), [], "a_1: make it unique"),
    "unique added": (A, lambda db: db.remake("a_1", ("a", 1), unique=True), ["rebuild", "drop_last_unique"], "stand in for a_1"),
    "prepared": (A, lambda db: db.change("a_1", prepareUnique=True), [], "a_1: let duplicates in again"),
    "keys": (
        {"name": "n", "keys": [{"a": 1}, {"b": 1}]},
        lambda db: db.remake("n", ("a", 1), ("c", 1)),
        ["rebuild"],
        "stand in for n",
    ),
    "order of keys": (
        {"name": "n", "keys": [{"a": 1}, {"b": 1}]},
        lambda db: db.remake("n", ("b", 1), ("a", 1)),
        ["rebuild"],
        "stand in for n",
    ),
    "direction": ({"name": "n", "keys": [{"a": 1}]}, lambda db: db.remake("n", ("a", -1)), ["rebuild"], "stand in for n"),
    "sparse": (A, lambda db: db.remake("a_1", ("a", 1), sparse=True), ["rebuild"], "stand in for a_1"),
    "filter": (
        {**A, "partial_filter_expression": {"b": {"$gt": 5}}},
        lambda db: db.remake("a_1", ("a", 1), partialFilterExpression={"b": {"$gt": 6}}),
        ["rebuild"],
        "stand in for a_1",
    ),
    "collation": (
        {**A, "collation": {"locale": "de"}},
        lambda db: db.remake("a_1", ("a", 1), collation={"locale": "de", "strength": 1}),
        ["rebuild"],
        "stand in for a_1",
    ),
    "weights": (
        {"name": "t", "keys": {"a": "text"}, "weights": {"a": 2}},
        lambda db: db.remake("t", ("a", "text"), weights={"a": 3}),
        ["rebuild_with_gap"],
        "build t as described",
    ),
    "language": (
        {"name": "t", "keys": {"a": "text"}},
        lambda db: db.remake("t", ("a", "text"), default_language="french"),
        ["rebuild_with_gap"],
        "build t as described",
    ),
    "projection": (
        {"keys": {"$**": 1}, "wildcard_projection": {"a": 1}},
        lambda db: db.remake("$**_1", ("$**", 1), wildcardProjection={"a": 0}),
        ["rebuild"],
        "stand in for $**_1",
    ),
    "sphere version": (
        {"keys": {"a": "2dsphere"}, "sphere_index_version": 3},
        lambda db: db.remake("a_2dsphere", ("a", "2dsphere"), **{"2dsphereIndexVersion": 2}),
        ["rebuild"],
        "stand in for a_2dsphere",
    ),
    "bounds": (
        {"keys": {"a": "2d"}, "max": 90},
        lambda db: db.remake("a_2d", ("a", "2d"), max=80),
        ["rebuild"],
        "stand in for a_2d",
    ),
}


def _drop(db: Database, name: str) -> None:
    with db.open() as database:
        database[db.collection].drop_index(name)


def test_every_drift_is_shown_and_then_repaired_or_refused(db: Database) -> None:
    """Each kind in a collection of its own, all in one run."""
    own = {kind: Database(db.bench, db.server, db.name, kind.replace(" ", "_")) for kind in DRIFTS}

    def collections(allowed: bool) -> list[dict[str, Any]]:
        return [
            {"database": db.name, "collection": own[kind].collection, "indexes": [index], "allow": allow if allowed else []}
            for kind, (index, _break, allow, _says) in DRIFTS.items()
        ]

    refusing = db.bench.login(db.server, collections=collections(False))
    allowing = db.bench.login(db.server, collections=collections(True))
    assert run("mongodb_indexes", refusing)["changed"]
    before = {kind: own[kind].listed() for kind in DRIFTS}
    for kind, (_index, break_it, _allow, _says) in DRIFTS.items():
        break_it(own[kind])
        assert repr(own[kind].listed()) != repr(before[kind]), kind

    for check in (True, False):
        refused = run("mongodb_indexes", refusing, check=check)
        assert refused["failed"], refused
        assert (refused["changed"], refused["steps_done"]) == (False, [])
        for kind, (_index, _break, allow, _says) in DRIFTS.items():
            named = f"{own[kind].label}, index " in refused["msg"]
            assert named == bool(allow), (kind, refused["msg"])
    predicted = run("mongodb_indexes", allowing, check=True)
    done = run("mongodb_indexes", allowing)
    assert done.get("failed") is not True, done
    assert (done["plan"], done["diff"]) == (predicted["plan"], predicted["diff"])
    assert sorted(step["reason"] for step in done["steps_done"]) == sorted(step["reason"] for step in done["plan"])
    for kind, (_index, _break, _allow, says) in DRIFTS.items():
        mine = [step["reason"] for step in done["plan"] if step["collection"] == own[kind].collection]
        assert any(says in reason for reason in mine), (kind, mine)
        assert repr(own[kind].listed()) == repr(before[kind]), kind
    assert not run("mongodb_indexes", refusing)["changed"]


def test_another_name_is_adopted_and_left(db: Database) -> None:
    db.make("by_hand", ("a", 1))
    before = db.listed()
    done = db.settle({"name": "ours", **A})
    assert (done["changed"], done["adopted"]) == (False, [{"collection": f"{db.name}.c", "index": "ours", "name": "by_hand"}])
    assert db.listed() == before
    assert db.run({"name": "ours", **A, "hidden": True})["changed"]
    assert db.listed()["by_hand"]["hidden"]


def test_the_collection_s_own_collation_is_no_drift(db: Database) -> None:
    with db.open() as database:
        database.create_collection("c", collation={"locale": "de"})
    indexes = [A, {"keys": {"b": 1}, "collation": {"locale": "simple"}}, {"keys": {"t": "text"}}]
    assert db.settle(*indexes)["changed"]


def test_a_ttl_says_how_many_documents_would_go(db: Database) -> None:
    now = datetime.datetime.now(datetime.UTC)
    with db.open() as database:
        database.c.insert_many([{"at": now - datetime.timedelta(hours=hours)} for hours in range(24)] + [{"at": "no date"}])
    db.make("at_1", ("at", 1), expireAfterSeconds=10**8)
    refused = db.run({"keys": {"at": 1}, "expire_after_seconds": 36000 - 60})
    assert refused["code"] == "lowers_ttl"
    assert "expire_after_seconds 100000000 -> 35940 would delete about 14 documents at once" in refused["msg"]
    fresh = db.run({"keys": {"at": 1}, "expire_after_seconds": 10**8}, {"keys": {"other": 1}, "expire_after_seconds": 5})
    assert fresh["changed"], "no document has the other field"
    _drop(db, "at_1")
    assert (
        "is new with expire_after_seconds 35940 would delete about 14" in db.run({"keys": {"at": 1}, "expire_after_seconds": 35940})["msg"]
    )


def test_unique_over_duplicates_shows_keys_and_waits_for_them_to_go(db: Database) -> None:
    with db.open() as database:
        database.c.insert_many(
            [{"k": 1, "secret": "s1"}, {"k": 1, "secret": "s2"}, {"k": 2}, {"e": []}, {"k": None, "e": 5}, {"e": [5, 5, 6]}]
        )
    unique = {"keys": {"k": 1}, "unique": True, "partial_filter_expression": {"k": {"$exists": True}}}
    refused = db.run(unique)
    assert refused["code"] == "duplicates"
    assert '{"key": {"k": 1}, "documents": 2}' in refused["msg"]
    assert "secret" not in refused["msg"]
    assert "s1" not in refused["msg"]
    assert "null" not in refused["msg"]
    # As the server counts: each element of an array, but not twice for one document.
    elements = db.run({"keys": {"e": 1}, "unique": True, "partial_filter_expression": {"e": {"$exists": True}}}, check=True)
    assert '{"key": {"e": 5}, "documents": 2}' in elements["msg"]

    waiting = db.settle(unique, allow=["duplicates"])
    assert waiting["pending"] == [f"{db.name}.c: k_1 becomes unique when its duplicates are gone."]
    with db.open() as database:
        with pytest.raises(DuplicateKeyError):
            database.c.insert_one({"k": 2})
        database.c.delete_one({"secret": "s2"})
    assert reasons(db.run(unique)) == ["k_1: make it unique"]
    assert db.listed()["k_1"]["unique"]


def test_what_nobody_described_is_reported_hidden_and_dropped_after_its_time(db: Database) -> None:
    db.make("old", ("b", 1))
    db.make("unique", ("u", 1), unique=True)
    described = [A, {"name": "unique", "keys": {"u": 1}, "unique": True}]
    assert db.run(*described)["unmanaged"] == []
    reported = run("mongodb_indexes", db.arguments(*described, unmanaged="report"))
    assert not reported["changed"]
    assert [one["name"] for one in reported["unmanaged"]] == ["old"]
    assert "Nobody described" in json.dumps(reported["warnings"])
    hidden = db.run(*described, unmanaged="drop")
    assert reasons(hidden) == ["hide old, which nobody described"]
    assert db.listed()["old"]["hidden"]
    waiting = db.run(*described, unmanaged="drop")
    assert not waiting["changed"]
    assert 604000 < waiting["unmanaged"][0]["drop_in"] <= 604800
    assert reasons(db.run({"keys": {"b": 1}}, *described, unmanaged="drop")) == ["old: show it again to queries"]
    db.run(*described, unmanaged="hide")
    deadline = time.monotonic() + 10
    while not (dropped := db.run(*described, unmanaged="drop", soak=1))["changed"]:
        assert time.monotonic() < deadline
    assert reasons(dropped) == ["drop old, which nobody described"]
    refused = db.run(A, unmanaged="drop")
    assert refused["code"] == "drops_last_unique"
    assert set(db.listed()) == {"_id_", "a_1", "unique"}


def test_the_last_index_of_a_shard_key_stays(db: Database) -> None:
    """A member of a shard keeps the shard keys in config.cache.collections."""
    db.make("a_1", ("a", 1))
    with db.server.client("admin") as client:
        client.config["cache.collections"].insert_one({"_id": f"{db.name}.c", "key": {"a": 1.0}})
        refused = db.run({**A, "state": "absent"})
        assert refused["code"] == "drops_shard_key_index"
        assert "sharded by {'a': 1}" in refused["msg"]
        assert (
            reasons(db.run({**A, "state": "absent"}, {"keys": [{"a": 1}, {"b": 1}]}, check=True))[-1] == "drop a_1, which should be absent"
        )
        client.config["cache.collections"].delete_one({"_id": f"{db.name}.c"})
    assert db.run({**A, "state": "absent"})["changed"]


def test_a_query_has_an_index_at_every_moment_of_a_rebuild(db: Database) -> None:
    with db.open() as database:
        database.c.insert_many([{"a": number % 100, "b": number} for number in range(20000)])
    db.make("a_1", ("a", 1), expireAfterSeconds=10**8, unique=False)
    seen: Counter[str] = Counter()
    over = threading.Event()

    def ask() -> None:
        with db.open() as database:
            while not over.is_set():
                seen[winner(database)] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        done = db.run(A, allow=["rebuild"])
    finally:
        over.set()
        asking.join()
    assert done["changed"], done
    assert "COLLSCAN" not in seen
    assert "a_1" in seen
    assert "expireAfterSeconds" not in db.listed()["a_1"]
    assert not [name for name in db.listed() if name.startswith("linda_ops_cover_")]


def hang(db: Database, mode: str) -> None:
    with db.server.client("admin") as client:
        client.admin.command("configureFailPoint", HANG, mode=mode)


def builds(db: Database) -> list[str]:
    with db.open() as database:
        listed = database.command("listIndexes", "c", includeBuildUUIDs=True)["cursor"]["firstBatch"]
    return [one["spec"]["name"] for one in listed if "buildUUID" in one]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_what_the_server_did_before_its_answer_got_lost_counts_as_done(db: Database) -> None:
    db.run(A)
    lost = {"failCommands": ["createIndexes"], "writeConcernError": {"code": 11602, "errmsg": "the primary moved"}}
    with db.server.client("admin") as client:
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=lost)
    done = db.run(A, {"keys": {"b": 1}})
    assert done.get("failed") is not True, done
    assert (done["changed"], done["steps_done"]) == (True, done["plan"])
    assert "b_1" in db.listed()


def test_what_has_not_reached_the_majority_is_not_done(db: Database) -> None:
    late = {"failCommands": ["createIndexes"], "writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
    with db.server.client("admin") as client:
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=late)
    done = db.run(A)
    assert (done["failed"], done["code"], done["steps_done"]) == (True, "not_committed", [])
    assert "has not reached the majority: waiting for replication timed out" in done["msg"]
    assert not db.run(A)["changed"]


def test_a_killed_run_s_build_is_joined_by_the_next(db: Database) -> None:
    with db.open() as database:
        database.c.insert_many([{"a": number} for number in range(100)])
    hang(db, "alwaysOn")
    process = begin("mongodb_indexes", db.arguments(A, {"keys": {"b": 1}}))
    until(lambda: len(builds(db)) == 2)
    process.kill()
    process.communicate()
    conflict = db.run({**A, "hidden": True})
    assert conflict["code"] == "build_conflict", conflict
    late = db.run(A, {"keys": {"b": 1}}, build_timeout=1)
    assert late["code"] == "time_limit", late
    assert late["steps_done"] == []
    size = db.server.log.stat().st_size
    again = begin("mongodb_indexes", db.arguments(A, {"keys": {"b": 1}}, {"keys": {"d": 1}}))
    # It is waiting for the build that it found; with the way free both end.
    until(lambda: waiting_for_builds(db) >= 1)
    until(lambda: again.poll() is not None or "aggregate" in db.server.commands_of_modules(size))
    assert again.poll() is None
    hang(db, "off")
    done = json.loads(again.communicate(timeout=60)[0])
    assert done.get("failed") is not True, done
    assert reasons(done) == ["create d_1; join the build of a_1, b_1, which is under way"]
    assert done["progress"][0]["collection"] == f"{db.name}.c"
    assert set(db.listed()) == {"_id_", "a_1", "b_1", "d_1"}
    assert not db.run(A, {"keys": {"b": 1}}, {"keys": {"d": 1}})["changed"]


def waiting_for_builds(db: Database) -> int:
    """Connections of the module that are inside createIndexes."""
    with db.server.client("admin") as client:
        running = client.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": {"appName": APP_NAME, "active": True}}])
        return sum("createIndexes" in one.get("command", {}) for one in running)


def kill_in_build(db: Database) -> None:
    process = begin("mongodb_indexes", db.arguments(A, allow=["rebuild"]))
    until(lambda: waiting_for_builds(db) >= 1 and bool(builds(db)))
    process.kill()
    process.communicate()


def winner(database: Any) -> str:
    """The index that answers a query for a, or the name of the stage that does without."""
    plan = database.command("explain", {"find": "c", "filter": {"a": 5}}, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
    return str(plan.get("inputStage", plan).get("indexName", plan["stage"]))


def test_killed_in_the_middle_of_a_rebuild_the_next_run_finishes_it(db: Database) -> None:
    with db.open() as database:
        database.c.insert_many([{"a": number} for number in range(100)])
    db.make("a_1", ("a", 1), sparse=True)
    # The run dies while the cover is built ...
    hang(db, "alwaysOn")
    kill_in_build(db)
    assert "a_1" in db.listed()
    assert "a_1" not in builds(db)
    hang(db, "off")
    until(lambda: not builds(db))
    # ... and the next one while the index itself is: the cover serves.
    hang(db, "alwaysOn")
    kill_in_build(db)
    assert builds(db) == ["a_1"]
    with db.open() as database:
        served_by = winner(database)
    assert served_by.startswith("linda_ops_cover_")
    hang(db, "off")
    done = db.run(A, allow=["rebuild"])
    assert done.get("failed") is not True, done
    assert set(db.listed()) == {"_id_", "a_1"}
    assert "sparse" not in db.listed()["a_1"]
    assert not db.run(A)["changed"]


def test_killed_after_each_step_the_next_run_ends_right(db: Database) -> None:
    with db.open() as database:
        database.c.insert_many([{"a": number, "b": number} for number in range(100)])
    db.make("a_1", ("a", 1), expireAfterSeconds=10**8)
    db.make("b_1", ("b", 1))
    db.make("old", ("old", 1))
    described = [A, {"keys": {"b": 1}, "unique": True}, {"keys": {"c": 1}}, {"name": "old", "state": "absent"}]
    kills = 0
    for _attempt in range(10):
        size = db.server.log.stat().st_size
        process = begin("mongodb_indexes", db.arguments(*described, allow=["rebuild"]))
        while process.poll() is None:
            # The server notes a command when it has carried it out.
            if set(db.server.commands_of_modules(size)) - READS:
                process.kill()
                kills += 1
        process.communicate()
        with db.open() as database:
            assert winner(database) != "COLLSCAN"
        if process.returncode == 0:
            break
    assert kills >= 3, "the module was too fast to be killed"
    done = db.run(*described, allow=["rebuild"])
    assert done.get("failed") is not True, done
    assert {name: index.get("unique", False) for name, index in db.listed().items()} == {
        "_id_": False,
        "a_1": False,
        "b_1": True,
        "c_1": False,
    }
    assert "expireAfterSeconds" not in db.listed()["a_1"]
    assert not db.run(*described)["changed"]


def test_the_compatibility_version_counts_not_the_binary(db: Database) -> None:
    db.make("a_1", ("a", 1))
    with db.server.client("admin") as client:
        client.admin.command("setFeatureCompatibilityVersion", "5.0")
        try:
            refused = db.run({**A, "unique": True})
        finally:
            client.admin.command("setFeatureCompatibilityVersion", "6.0")
    assert refused["code"] == "rebuild_not_allowed"
    assert db.run({**A, "unique": True})["changed"]


def test_it_is_refused_before_anything_connects(db: Database) -> None:
    closed = db.arguments({**A, "uniqe": True}, login_port=9, timeout=1)
    refused = run("mongodb_indexes", closed)
    assert (refused["code"], refused["steps_done"]) == ("bad_index", [])
    assert "uniqe is not a known field here (did you mean unique?)" in refused["msg"]
    for more, word in (({"parallel": 0}, "parallel"), ({"commit_quorum": "all"}, "commit_quorum")):
        refused = db.run(A, login_port=9, **more)
        assert (refused["code"], word in refused["msg"]) == ("bad_option", True)
    assert db.run(A, login_port=9, timeout=1)["code"] == "not_running"
    predicted = db.run(A, login_port=9, timeout=1, check=True)
    assert (predicted["changed"], predicted["state"], reasons(predicted)) == (True, "not_running", ["create a_1"])
    with db.open() as database:
        database.create_collection("v", viewOn="c")
    view = db.bench.login(db.server, indexes=[{"database": db.name, "collection": "v", **A}])
    assert run("mongodb_indexes", view)["code"] == "not_a_collection"


def test_a_task_of_community_mongodb_needs_only_another_name(db: Database) -> None:
    indexes = [
        {
            "database": db.name,
            "collection": "c",
            "keys": {"a": 1},
            "options": {"name": "mine", "expireAfterSeconds": 9},
            "state": "present",
        },
        {"database": db.name, "collection": "e", "keys": {"b": -1}, "options": {"name": "other", "background": True}, "state": "present"},
        {"database": db.name, "collection": "c", "options": {"name": "gone"}, "state": "absent"},
    ]
    arguments = db.bench.login(db.server, indexes=indexes)
    assert len(run("mongodb_indexes", arguments)["steps_done"]) == 2
    assert not run("mongodb_indexes", arguments)["changed"]


def test_indexes_made_by_community_mongodb_are_adopted_and_what_it_does_not_see_is_seen(db: Database) -> None:
    indexes = [
        {"keys": {"a": 1}, "options": {"name": "one", "unique": True, "partialFilterExpression": {"a": {"$gt": 5}}}},
        {"keys": {"b": -1}, "options": {"name": "two", "expireAfterSeconds": 3600}},
        {"keys": {"c": 1}, "options": {"name": "three", "collation": {"locale": "de", "strength": 2}}},
        {"keys": {"d": 1}, "options": {"name": "four", "sparse": True}},
        {"keys": {"t": "text"}, "options": {"name": "five", "weights": {"t": 3}}},
    ]
    described = [{"database": db.name, "collection": "c", "state": "present", **index} for index in indexes]
    login = db.bench.login(db.server)
    del login["timeout"]
    theirs = {**login, "connection_options": ["tlsAllowInvalidHostnames=true"], "indexes": described}
    ours = db.bench.login(db.server, indexes=described)
    community = "ansible_collections.community.mongodb.plugins.modules.mongodb_index"
    assert run(community, theirs)["changed"]
    before = db.listed()
    for check in (True, False):
        adopted = run("mongodb_indexes", ours, check=check)
        assert (adopted["changed"], adopted["plan"], adopted["adopted"]) == (False, [], []), adopted
    assert db.listed() == before

    db.change("two", expireAfterSeconds=60)
    db.change("three", hidden=True)
    assert not run(community, theirs)["changed"], "it compares names only"
    repaired = run("mongodb_indexes", ours)
    assert sorted(reasons(repaired)) == ["three: show it again to queries", "two: expire_after_seconds 60 -> 3600"]
    assert db.listed() == before


def test_an_administrator_of_the_database_can_do_it(db: Database) -> None:
    keeper = {"name": "keeper", "password": "keeper-word", "roles": [{"role": "dbAdmin", "db": db.name}]}
    assert run("mongodb_users", db.bench.login(db.server, users=[keeper]))["changed"]
    own = {"login_user": "keeper", "login_password": "keeper-word"}
    described = [{"keys": {"a": 1}, "unique": True}, {"keys": {"b": 1}, "expire_after_seconds": 9}]
    db.make("old", ("old", 1))
    done = db.run(*described, **own)
    assert done["code"] == "lowers_ttl", "it may not count, and so nothing is assumed"
    assert "could not be counted" in done["msg"]
    assert db.run(*described, **own, unmanaged="hide", allow=["lower_ttl"])["changed"]
    denied = db.run(*described, **own, unmanaged="drop")
    assert denied["code"] == "not_authorized"
    assert "indexStats" in denied["msg"]
    assert run("mongodb_users", db.bench.login(db.server, users=[{"name": "keeper", "state": "absent"}]))["changed"]


# ------------------------------------------------------------------------------------------------------------------ budgets


def many(db: Database, each: int, prefix: str = "f") -> list[dict[str, Any]]:
    return [
        {"database": db.name, "collection": f"c{number}", "indexes": [{"keys": [{f"{prefix}{place}": 1}]} for place in range(each)]}
        for number in range(10)
    ]


def connections(db: Database, since: int) -> int:
    """Connections of our modules over which anything but the driver's own greeting went."""
    used = set()
    for line in db.server.log.read_bytes()[since:].rpartition(b"\n")[0].splitlines():
        entry = json.loads(line)
        attributes = entry.get("attr", {})
        command = attributes.get("command")
        if attributes.get("appName") == APP_NAME and isinstance(command, dict) and next(iter(command)) not in ("hello", "ismaster"):
            used.add(entry["ctx"])
    return len(used)


def test_five_hundred_indexes_unchanged_cost_one_connection_and_few_commands(db: Database) -> None:
    described = many(db, 50)
    arguments = db.bench.login(db.server, collections=described)
    size = db.server.log.stat().st_size
    done = run("mongodb_indexes", arguments)
    assert done.get("failed") is not True, done
    assert Counter(db.server.commands_of_modules(size))["createIndexes"] == 10

    size = db.server.log.stat().st_size
    again = run("mongodb_indexes", arguments)
    assert again["changed"] is False, again
    sent = db.server.commands_of_modules(size)
    assert sent.count("listIndexes") == 10
    assert len(sent) <= 21, Counter(sent)
    assert connections(db, size) == 1

    size = db.server.log.stat().st_size
    both = [{**one, "indexes": one["indexes"] + more["indexes"]} for one, more in zip(described, many(db, 10, "g"), strict=True)]
    assert run("mongodb_indexes", {**arguments, "collections": both})["changed"]
    sent = db.server.commands_of_modules(size)
    assert [name for name in sent if name not in READS] == ["createIndexes"] * 10


# ------------------------------------------------------------------------------------------------------------------- a set


def test_three_members(bench: Bench, tmp_path: Path) -> None:
    """A step-down in the middle of a build, and since when an index has been hidden, as each member tells it."""
    made = Bench(bench.binary, tmp_path)
    try:
        servers = made.start(3, enableTestCommands=True)
        begin_set(made, servers)
        db = Database(made, servers[0], "three")
        assert db.run(A, {"keys": {"b": 1}}, commit_quorum="majority")["changed"]

        before = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        hidden = db.run(A, unmanaged="drop")
        assert reasons(hidden) == ["hide b_1, which nobody described"]

        def since(server: Mongod) -> datetime.datetime:
            with server.client("admin") as client:
                (one,) = client.three.c.with_options(read_preference=_nearest()).aggregate(
                    [{"$indexStats": {}}, {"$match": {"name": "b_1"}}]
                )
                return one["accesses"]["since"]

        until(lambda: all(since(server) >= before for server in servers))

        with servers[0].client("admin") as client:
            client.three.c.insert_many([{"d": number} for number in range(100)])
            client.admin.command("configureFailPoint", HANG, mode="alwaysOn")
        process = begin("mongodb_indexes", db.arguments(A, {"keys": {"d": 1}}, replica_set="rs0", timeout=30))
        until(lambda: builds(db) == ["d_1"])
        with servers[0].client("admin") as client, contextlib.suppress(Exception):
            client.admin.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=10, force=True)
        until(lambda: any(server.hello().get("isWritablePrimary") for server in servers[1:]))
        with servers[0].client("admin") as client:
            client.admin.command("configureFailPoint", HANG, mode="off")
        done = json.loads(process.communicate(timeout=60)[0])
        assert done.get("failed") is not True, done
        assert done["changed"]
        db.server = made.primary()
        assert {"a_1", "d_1"} <= set(db.listed())
        assert not db.run(A, {"keys": {"d": 1}})["changed"]
    finally:
        made.stop()


def _nearest() -> Any:
    from pymongo import ReadPreference

    return ReadPreference.NEAREST
