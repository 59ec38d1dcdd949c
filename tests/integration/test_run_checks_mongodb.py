"""The check type mongodb against real mongods with TLS and authentication."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mongodb_support
import pymongo
import pytest
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import Result, run_all
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import parse_checks
from ansible_collections.linda.ops.plugins.module_utils._mongodb_uri import build_uri
from checks_support import Authority, free_port
from mongodb_support import ADMIN_WORD, Bench, Mongod

from lab.app.tests.running import environment
from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
MONITOR_WORD = "Monitor-word:with/odd@chars%"
BLIND_WORD = "blind-word-1"
POOLED_WORD = "Pooled-word:with/odd@chars%"
SCRATCH = "linda_checks"
MONITOR = {
    "name": "monitor",
    "password": MONITOR_WORD,
    "roles": [{"role": "clusterMonitor", "db": "admin"}, {"role": "readWrite", "db": SCRATCH}],
}
BLIND = {"name": "blind", "password": BLIND_WORD, "roles": [{"role": "read", "db": "linda"}]}
SECRETS = {"monitor_word": MONITOR_WORD, "blind_word": BLIND_WORD, "wrong_word": "not-it-at-all"}
DEBIAN = Path("/usr/lib/python3/dist-packages")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A set of three with an administrator, the user of the checks, and one who may do nothing."""
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    made = Bench(binary, tmp_path_factory.mktemp("set"))
    try:
        servers = made.start(3)
        members = [{"host": server.host, **({"priority": 2} if place == 0 else {})} for place, server in enumerate(servers)]
        quick = {"election_timeout_millis": 1000, "heartbeat_interval_millis": 200}
        mongodb_support.run("mongodb_replset", made.login(servers[0], members=members, **quick))
        admin = {"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}
        mongodb_support.run("mongodb_users", made.login(made.primary(), users=[admin, MONITOR, BLIND]))
        until(made, lambda: bool(servers[0].hello().get("isWritablePrimary")))
        until(made, lambda: run(made, {}).status == "pass")
        yield made
    finally:
        made.stop()


def until(bench: Bench, true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, [run(bench, {}, at=server) for server in bench.servers]
        time.sleep(0.2)


def check_of(bench: Bench, more: Mapping[str, object], at: Mongod | None = None) -> dict[str, object]:
    server = at or bench.servers[0]
    common: dict[str, object] = {
        "name": "set", "host": "mongo1", "role": "mongodb", "type": "mongodb", "address": "127.0.0.1", "port": server.port,
        "ca_file": str(bench.authority.file), "username": "monitor", "password_variable": "monitor_word",
        "timeout": 5, "retries": 0,
    }  # fmt: skip
    return {key: value for key, value in {**common, **more}.items() if value is not None}


def run(bench: Bench, more: Mapping[str, object], at: Mongod | None = None) -> Result:
    (result,) = run_all(parse_checks([check_of(bench, more, at)]), {"mongo1": SECRETS}, 1)
    for secret in SECRETS.values():
        assert secret not in str(result)
    return result


def passes(bench: Bench, more: Mapping[str, object], at: Mongod | None = None) -> Result:
    result = run(bench, more, at)
    assert result.status == "pass", result
    return result


def fails(reason: str, bench: Bench, more: Mapping[str, object], at: Mongod | None = None) -> Result:
    result = run(bench, more, at)
    assert result.status == "fail", result
    assert reason in result.reason, result
    return result


def scratch_of(bench: Bench) -> list[str]:
    with bench.servers[0].client("admin") as client:
        return client[SCRATCH].list_collection_names()


def test_everything_is_well(bench: Bench) -> None:
    members = [{"host": server.host, "address": server.host} for server in bench.servers]
    for server in bench.servers:
        wanted = {"replica_set": "rs0", "members": members, "write_database": SCRATCH, "max_lag": 60}
        result = passes(bench, wanted, at=server)
        assert "PRIMARY" in result.evidence
        assert "majority write read back" in result.evidence
    assert scratch_of(bench) == []


def test_authority_as_text(bench: Bench) -> None:
    passes(bench, {"ca_file": None, "ca_pem": bench.authority.pem})


def test_another_set(bench: Bench) -> None:
    fails("the replica set is rs0, expected rs1", bench, {"replica_set": "rs1"})


def test_members_are_counted_both_ways(bench: Bench) -> None:
    hosts = [server.host for server in bench.servers]
    passes(bench, {"members": hosts})
    fails("mongo9:27017 is not a member", bench, {"members": [*hosts, "mongo9:27017"]})
    fails(f"{hosts[2]} is a member, which is not expected", bench, {"members": hosts[:2]})


def test_login(bench: Bench) -> None:
    fails("the login is refused", bench, {"password_variable": "wrong_word"})
    fails("the login is refused", bench, {"auth_source": "linda"})
    fails("variable no_such_word is not defined for host mongo1", bench, {"password_variable": "no_such_word"})
    fails("the user may not do this", bench, {"username": "blind", "password_variable": "blind_word"})
    fails("requires authentication", bench, {"username": None, "password_variable": None})


def test_write_without_the_right_to(bench: Bench) -> None:
    fails("the user may not do this", bench, {"write_database": "elsewhere"})


def test_tls(bench: Bench, tmp_path: Path) -> None:
    fails("certificate verify failed", bench, {"ca_file": str(Authority(tmp_path / "other").file), "timeout": 1})
    fails("not valid for 'localhost'", bench, {"address": "localhost", "timeout": 1})
    fails("cannot be asked", bench, {"ca_file": None, "tls": False, "timeout": 1})
    fails("does not exist", bench, {"ca_file": "/nonexistent/ca.pem"})


def test_nobody_there(bench: Bench) -> None:
    result = fails("Connection refused", bench, {"port": 1, "timeout": 1})
    assert result.duration_s < 3


def test_write_that_does_not_come_through(bench: Bench) -> None:
    """A locked primary takes no write; the check ends in time, and the next good one leaves nothing behind."""
    with bench.servers[0].client("admin") as client:
        client.admin.command("fsync", lock=True)
        try:
            result = run(bench, {"write_database": SCRATCH, "timeout": 2})
        finally:
            client.admin.command("fsyncUnlock")
    assert result.status == "fail", result
    assert result.duration_s < 3
    passes(bench, {"write_database": SCRATCH})


def test_what_a_killed_run_left_behind_is_dropped(bench: Bench) -> None:
    old, young = f"linda_check_{int(time.time()) - 7200}_{'a' * 32}", f"linda_check_{int(time.time())}_{'b' * 32}"
    with bench.servers[0].client("admin") as client:
        for name in (old, young, "linda_check_of_a_user"):
            client[SCRATCH].create_collection(name)
        passes(bench, {"write_database": SCRATCH})
        left = scratch_of(bench)
        client.drop_database(SCRATCH)
    assert old not in left
    assert {young, "linda_check_of_a_user"} <= set(left)


def pools_of(bench: Bench, more: Mapping[str, object], at: Mongod) -> Result:
    pool = {"type": "mongodb_pool", "user": "pooled", "clients": ["127.0.0.1"], "min_size": 3, "max_size": 5, **more}
    return run(bench, pool, at)


def test_the_pool_of_a_running_application(bench: Bench) -> None:
    """Seen from each member: what is logged in as the application, but not the driver's monitors, and not another user."""
    pooled = {"name": "pooled", "password": POOLED_WORD, "roles": [{"role": "read", "db": "linda"}]}
    mongodb_support.run("mongodb_users", bench.login(bench.primary(), users=[pooled]))
    result = pools_of(bench, {}, bench.servers[0])
    assert "127.0.0.1 has 0 connections as pooled, fewer than 3 to 5" in result.reason
    assert pools_of(bench, {"min_size": 0}, bench.servers[0]).status == "pass"
    uri = build_uri(
        [server.host for server in bench.servers],
        {"user": "pooled", "password": POOLED_WORD, "replica_set": "rs0", "tls_ca_file": str(bench.authority.file), "min_pool_size": 4},
    )
    application: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri, appname="an application")
    try:
        application.linda.things.find_one()
        for server in bench.servers:
            until(bench, lambda server=server: pools_of(bench, {}, server).status == "pass")  # type: ignore[misc]
            result = pools_of(bench, {}, server)
            assert result.evidence == "connections as pooled: 127.0.0.1 4; 3 to 5 wanted"
            assert "4 connections as pooled, fewer than 6 to 10" in pools_of(bench, {"processes": 2}, server).reason
            assert "4 connections as pooled, more than 1 to 2" in pools_of(bench, {"min_size": 1, "max_size": 2}, server).reason
            assert "127.0.0.9 has 0 connections" in pools_of(bench, {"clients": ["127.0.0.1", "127.0.0.9"]}, server).reason
            blind = {"username": "blind", "password_variable": "blind_word"}
            assert "the user may not do this" in pools_of(bench, blind, server).reason
    finally:
        application.close()


def test_the_pool_that_the_uri_gives_to_the_reference_application(bench: Bench, tmp_path: Path) -> None:
    """From the filter's URI through the running program to what each member counts: 10 to 100, because nothing else is said."""
    worker = {"name": "worker", "password": POOLED_WORD, "roles": [{"role": "readWrite", "db": "linda"}]}
    mongodb_support.run("mongodb_users", bench.login(bench.primary(), users=[worker]))
    options = {"user": "worker", "password": POOLED_WORD, "replica_set": "rs0", "tls_ca_file": str(bench.authority.file)}
    (tmp_path / "uri").write_text(build_uri([server.host for server in bench.servers], options))
    port = free_port()
    settings = environment(MONGODB_URI_FILE=str(tmp_path / "uri"), PORT=str(port), READY_TIMEOUT="10")
    with (tmp_path / "log").open("wb") as log:
        application = subprocess.Popen([sys.executable, "-m", "linda_lab_api"], env=settings, stdout=log, stderr=subprocess.STDOUT)
    ready = {"name": "ready", "host": "api1", "role": "application", "type": "http", "address": "127.0.0.1", "retries": 60, "pause": 0.5}
    try:
        (answer,) = run_all(parse_checks([{**ready, "url": f"http://127.0.0.1:{port}/readyz"}]), {}, 1)
        assert answer.status == "pass", (answer, (tmp_path / "log").read_text())
        for server in bench.servers:
            pool = {"type": "mongodb_pool", "user": "worker", "clients": ["127.0.0.1"], "retries": 10}
            assert run(bench, pool, server).evidence == "connections as worker: 127.0.0.1 10; 10 to 100 wanted"
    finally:
        application.terminate()
        application.wait(30)
    assert "127.0.0.1 has 0 connections as worker" in run(bench, {**pool, "retries": 0}, bench.servers[0]).reason


def test_lag(bench: Bench) -> None:
    """A locked secondary falls behind."""
    with bench.servers[2].client("admin") as secondary, bench.servers[0].client("admin") as primary:
        secondary.admin.command("fsync", lock=True)
        try:
            time.sleep(2.2)
            primary.linda.things.insert_one({"a": 1})
            time.sleep(0.5)
            fails("s behind the primary, more than 1", bench, {"max_lag": 1})
            passes(bench, {"max_lag": 60})
        finally:
            secondary.admin.command("fsyncUnlock")


def test_the_oplog_reaches_back_far_enough_until_it_does_not(bench: Bench) -> None:
    assert "; oplog of 0.0 h, " in passes(bench, {"oplog_window_hours": 24, "max_lag": 60}).evidence
    with bench.servers[0].client("admin") as client:
        for _number in range(8):
            client.linda.filler.insert_many([{"filling": "x" * 1_000_000} for _one in range(8)])
        client.linda.filler.drop()
    reason = fails("the oplog reaches back 0.0 h, less than 24 h", bench, {"oplog_window_hours": 24, "max_lag": 60}).reason
    assert "lag" not in reason
    passes(bench, {"max_lag": 60})


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with nothing but the pymongo of this Debian release."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    return path


def test_from_its_host_with_the_driver_of_debian(bench: Bench, debians_driver: Path, tmp_path: Path) -> None:
    def remote(more: Mapping[str, object]) -> dict[str, Any]:
        arguments = {"checks": [check_of(bench, {"from": "self", **more})], "secrets": SECRETS}
        answer: dict[str, Any] = mongodb_support.run("run_checks", arguments, driver=debians_driver)["results"][0]
        return answer

    good = remote({"write_database": SCRATCH})
    assert good["status"] == "pass", good
    pool = remote({"type": "mongodb_pool", "user": "monitor", "clients": ["127.0.0.1"], "min_size": 1, "max_size": 1})
    assert pool["status"] == "pass", pool
    assert "the login is refused" in remote({"password_variable": "wrong_word"})["reason"]
    assert "certificate verify failed" in remote({"ca_file": str(Authority(tmp_path / "other").file), "timeout": 2})["reason"]
    assert scratch_of(bench) == []


def test_members_that_are_gone_and_no_primary(bench: Bench) -> None:
    """The last one: it breaks the set."""
    one, two, three = bench.servers
    three.kill()
    until(bench, lambda: f"{three.host} is (not reachable/healthy)" in run(bench, {}).reason)
    two.kill()
    until(bench, lambda: "there is no primary" in run(bench, {}).reason)
    one.kill()
    fails("Connection refused", bench, {"timeout": 1})
