"""mongodb_parameters as real module runs against real mongods."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongodb_support import ADMIN_WORD, READING, Bench, Mongod, run
from pymongo import WriteConcern

from lab.mirror import MirrorError, build, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
DEBIAN = Path("/usr/lib/python3/dist-packages")
LOOKING = READING | {"getParameter", "serverStatus", "listDatabases", "profile", "collStats", "getCmdLineOpts"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    made = Bench(binary, tmp_path_factory.mktemp("parameters"))
    try:
        first, second = made.start(2)
        members = [{"_id": 0, "host": first.host}, {"_id": 1, "host": second.host, "votes": 0, "priority": 0}]
        settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
        with first.client() as client:
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": members, "settings": settings})
            made.primary()
            client.admin.command("createUser", "admin", pwd=ADMIN_WORD, roles=["root"])
        with first.client("admin") as client:
            client.get_database("linda", write_concern=WriteConcern(2)).things.insert_one({"a": 1})
        yield made
    finally:
        made.stop()


def started_with(server: Mongod) -> dict[str, Any]:
    """The very configuration that the test started the server with."""
    options: dict[str, Any] = json.loads((server.directory / "mongod.conf").read_text())
    return options


def changed_to(server: Mongod, more: dict[str, dict[str, Any]]) -> dict[str, Any]:
    described = copy.deepcopy(started_with(server))
    for section, values in more.items():
        described.setdefault(section, {}).update(values)
    return described


def reconcile(bench: Bench, server: Mongod, configuration: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Check, run, check, run: the prediction is the run, and the second run does nothing."""
    arguments = bench.login(server, configuration=configuration, **more)
    size = server.log.stat().st_size
    predicted = run("mongodb_parameters", arguments, check=True)
    assert set(server.commands_of_modules(size)) <= LOOKING
    done = run("mongodb_parameters", arguments)
    assert done.get("failed") is not True, done
    for key in ("changed", "plan", "diff", "restart_required", "state", "member"):
        assert done[key] == predicted[key], key
    assert (predicted["steps_done"], done["steps_done"]) == ([], done["plan"])
    for check in (True, False):
        again = run("mongodb_parameters", arguments, check=check)
        assert (again["changed"], again["plan"], again["restart_required"]) == (False, [], done["restart_required"]), again
    return done


def level(server: Mongod, database: str = "admin") -> dict[str, Any]:
    with server.client("admin") as client:
        return client[database].command("profile", -1)


def parameter(server: Mongod, name: str) -> Any:
    with server.client("admin") as client:
        return client.admin.command("getParameter", 1, **{name: 1})[name]


def test_the_configuration_it_was_started_with_asks_for_nothing(bench: Bench) -> None:
    for server, member in zip(bench.servers, ("primary", "secondary"), strict=True):
        result = run("mongodb_parameters", bench.login(server, configuration=started_with(server), version="6.0.5"))
        assert (result["changed"], result["plan"], result["restart_required"]) == (False, [], []), result
        assert (result["state"], result["member"]) == ("ready", member)


@pytest.mark.parametrize("place", [0, 1], ids=["primary", "secondary"])
def test_what_can_be_changed_online_is_in_force_at_once(bench: Bench, place: int) -> None:
    server = bench.servers[place]
    more = {
        "operationProfiling": {"slowOpThresholdMs": 37, "slowOpSampleRate": 0.5, "mode": "slowOp"},
        "replication": {"oplogSizeMB": 1000},
        "storage": {"oplogMinRetentionHours": 1.5, "wiredTiger": {"engineConfig": {"cacheSizeGB": 0.5}}},
        "systemLog": {"verbosity": 0, "component": {"command": {"verbosity": 1}, "index": {"verbosity": 2}}, "quiet": True},
        "setParameter": {"initialSyncSourceReadPreference": "primaryPreferred", "transactionLifetimeLimitSeconds": 77},
    }
    done = reconcile(bench, server, changed_to(server, more))
    assert len(done["plan"]) == 10, done["plan"]
    assert done["restart_required"] == []
    for database in ("admin", "linda"):
        assert level(server, database)["was"] == 1
    assert (level(server)["slowms"], level(server)["sampleRate"]) == (37, 0.5)
    assert parameter(server, "transactionLifetimeLimitSeconds") == 77
    assert parameter(server, "quiet") is True
    assert parameter(server, "logComponentVerbosity")["index"]["verbosity"] == 2
    with server.client("admin") as client:
        assert client.local.command("collStats", "oplog.rs")["maxSize"] == 1000 * 1024 * 1024
        status = client.admin.command("serverStatus")
    assert status["oplogTruncation"]["oplogMinRetentionHours"] == 1.5
    assert status["wiredTiger"]["cache"]["maximum bytes configured"] == 512 * 1024 * 1024

    # Taken out of the description again: what has a default goes back to it, the rest stays or asks for a restart.
    back = reconcile(bench, server, started_with(server) | {"replication": {"replSetName": "rs0", "oplogSizeMB": 1000}})
    assert level(server)["slowms"] == 100
    assert level(server, "linda")["was"] == 0
    assert parameter(server, "quiet") is False
    assert not back["restart_required"]


def test_what_was_changed_behind_the_tools_back_is_found(bench: Bench) -> None:
    server = bench.servers[0]
    with server.client("admin") as client:
        client.linda.command("profile", 2, slowms=1)
        client.admin.command("setParameter", 1, logComponentVerbosity={"storage": {"journal": {"verbosity": 1}}})
    configuration = changed_to(server, {"replication": {"oplogSizeMB": 1000}})
    done = reconcile(bench, server, configuration)
    assert [step["reason"] for step in done["plan"]] == [
        "operationProfiling.slowOpThresholdMs: 1 -> 100",
        "operationProfiling.mode of database linda: all -> off",
        "systemLog.component.storage.journal.verbosity: 1 -> -1",
    ]


def test_what_needs_a_restart_is_named_with_both_values(bench: Bench) -> None:
    server = bench.servers[0]
    configuration = changed_to(
        server,
        {
            "replication": {"oplogSizeMB": 1000},
            "net": {"maxIncomingConnections": 2000},
            "setParameter": {"initialSyncSourceReadPreference": "nearest"},
            "operationProfiling": {"slowOpThresholdMs": 150},
        },
    )
    done = reconcile(bench, server, configuration, version="6.0.27")
    assert done["restart_required"] == [
        {"setting": "version", "running": "6.0.5", "wanted": "6.0.27"},
        {"setting": "net.maxIncomingConnections", "running": "(not set)", "wanted": 2000},
        {"setting": "setParameter.initialSyncSourceReadPreference", "running": "primaryPreferred", "wanted": "nearest"},
    ]
    assert done["diff"]["after"]["net.maxIncomingConnections"] == "2000 (after a restart)"
    assert level(server)["slowms"] == 150, "what can be done at once does not wait"


def test_one_login_and_few_commands(bench: Bench) -> None:
    server = bench.servers[1]
    size = server.log.stat().st_size
    configuration = changed_to(server, {"replication": {"oplogSizeMB": 1000}})
    assert run("mongodb_parameters", bench.login(server, configuration=configuration), check=True)["state"] == "ready"
    sent = [name for name in server.commands_of_modules(size) if name not in ("hello", "ismaster", "endSessions")]
    assert sent.count("saslContinue") == 1
    assert len(sent) <= 14, sent


def test_what_is_refused(bench: Bench) -> None:
    server = bench.servers[0]
    login = bench.login(server, configuration=started_with(server), timeout=3)
    cases = {
        "login_failed": {**login, "login_password": "not-it-at-all"},
        "bad_value": {**login, "configuration": changed_to(server, {"operationProfiling": {"mode": False}})},
        "bad_configuration": {**login, "configuration": changed_to(server, {"storage": {"dbPath": None}})},
        "oplog_out_of_bounds": {**login, "configuration": changed_to(server, {"replication": {"oplogSizeMB": 600}})},
        "not_running": {**login, "login_port": 9},
    }
    for code, arguments in cases.items():
        result = run("mongodb_parameters", arguments)
        assert (result.get("code"), result["changed"], result["steps_done"]) == (code, False, []), result
    predicted = run("mongodb_parameters", cases["not_running"], check=True)
    assert (predicted["changed"], predicted["state"]) == (False, "not_running")


def test_with_the_driver_of_debian(bench: Bench, tmp_path: Path) -> None:
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (tmp_path / package).symlink_to(DEBIAN / package)
    server = bench.servers[1]
    configuration = changed_to(server, {"replication": {"oplogSizeMB": 1000}, "operationProfiling": {"slowOpThresholdMs": 42}})
    login = bench.login(server, configuration=configuration)
    done = run("mongodb_parameters", login, driver=tmp_path)
    assert done["changed"], done
    assert not run("mongodb_parameters", login, driver=tmp_path)["changed"]


def test_a_server_that_has_no_set_yet_is_left_alone(bench: Bench) -> None:
    (bare,) = bench.start(1)
    result = run("mongodb_parameters", bench.login(bare, configuration=started_with(bare)))
    assert (result["changed"], result["state"], result["plan"]) == (False, "no_set", [])


@pytest.fixture
def old_server(tmp_path: Path) -> Iterator[Bench]:
    """A set of one member of 5.0.4, with the OpenSSL of its time beside it."""
    for package in build(["mongodb-5.0.4"], CACHE, print).root.rglob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path / "unpacked")], check=True)
    program = tmp_path / "mongod"
    libraries = tmp_path / "unpacked/usr/lib/x86_64-linux-gnu"
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {tmp_path}/unpacked/usr/bin/mongod "$@"\n')
    program.chmod(0o755)
    made = Bench(program, tmp_path)
    try:
        (server,) = made.start(1)
        with server.client() as client:
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": server.host}]})
            made.primary()
            client.admin.command("createUser", "admin", pwd=ADMIN_WORD, roles=["root"])
        yield made
    finally:
        made.stop()


def test_a_server_that_tells_no_details(old_server: Bench) -> None:
    """Before 6.0 nobody says which parameters can be set while the server runs, so each of them waits for a restart."""
    (server,) = old_server.servers
    with server.client("admin") as client:
        assert client.admin.command("buildInfo")["version"] == "5.0.4"
    nothing = reconcile(old_server, server, started_with(server))
    assert (nothing["plan"], nothing["restart_required"]) == ([], [])
    more = {"operationProfiling": {"slowOpThresholdMs": 37}, "setParameter": {"transactionLifetimeLimitSeconds": 77}}
    done = reconcile(old_server, server, changed_to(server, more))
    assert level(server)["slowms"] == 37
    assert [one["setting"] for one in done["restart_required"]] == ["setParameter.transactionLifetimeLimitSeconds"]
    assert parameter(server, "transactionLifetimeLimitSeconds") == 60
