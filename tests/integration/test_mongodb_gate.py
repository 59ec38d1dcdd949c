"""The gate of the rolling engine against real servers: order, step-down, return, refusals, and nothing written in check mode."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongodb_support import ADMIN_WORD, READING, Bench, Mongod, run

from lab.mirror import mongod_binary
from lab.state import cache_directory

LOOKING = READING | {"serverStatus", "getParameter", "collStats", "find", "aggregate"}
QUICK = {"election_timeout_millis": 2000, "heartbeat_interval_millis": 500}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A set of three with an administrator, the first preferred as primary."""
    directory: Path = tmp_path_factory.mktemp("gate")
    made = Bench(mongod_binary(cache_directory()), directory)
    try:
        servers = made.start(3)
        described = [{"host": servers[0].host, "priority": 2}, servers[1].host, servers[2].host]
        built = run("mongodb_replset", made.login(servers[0], members=described, **QUICK))
        assert built.get("failed") is not True, built
        admin = {"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}
        while made.primary() is not servers[0]:
            time.sleep(0.2)
        made_user = run("mongodb_users", made.login(servers[0], users=[admin]))
        assert made_user.get("failed") is not True, made_user
        yield made
    finally:
        made.stop()


def gate(bench: Bench, *, check: bool = False, **options: Any) -> dict[str, Any]:
    addresses = [server.host for server in bench.servers]
    return run("mongodb_gate", bench.login(bench.servers[0], login_addresses=addresses, **options), check=check)


def restart(server: Mongod) -> None:
    assert server.process is not None
    with server.client("admin") as client:
        # No client needs the 15 s that a server gives them to go elsewhere.
        client.admin.command("setParameter", 1, shutdownTimeoutMillisForSignaledShutdown=100)
    server.process.terminate()
    server.process.wait(timeout=60)
    server.start()
    server.wait()


def test_check_mode_looks_and_sends_no_write(bench: Bench) -> None:
    sizes = {server.port: server.log.stat().st_size for server in bench.servers}
    primary = bench.primary()
    predicted = gate(bench, check=True, step="leave", member=primary.host)
    assert predicted["changed"], predicted
    assert [step["action"] for step in predicted["plan"] if step["action"] != "sync_from"] == ["step_down"]
    assert predicted["diff"] == {"before": {primary.host: "PRIMARY"}, "after": {primary.host: "SECONDARY"}}
    assert not gate(bench, check=True, step="return", member=primary.host)["changed"]
    assert bench.primary() is primary
    sent = [name for server in bench.servers for name in server.commands_of_modules(sizes[server.port])]
    assert {"replSetGetStatus", "serverStatus", "aggregate"} <= set(sent), "the servers' logs do not show what was sent"
    assert set(sent) <= LOOKING


def test_a_rolling_restart_goes_on_from_what_the_servers_say(bench: Bench) -> None:
    request = time.time()
    planned = gate(bench, restarted_after=request)
    primary = bench.primary()
    assert planned["order"][-1] == primary.host
    assert [step["action"] for step in planned["plan"]] == ["roll", "roll", "step_down", "roll"]
    for number, host in enumerate(planned["order"]):
        server = next(one for one in bench.servers if one.host == host)
        left = gate(bench, step="leave", member=host)
        assert left.get("failed") is not True, left
        done = [step["action"] for step in left["steps_done"]]
        assert [action for action in done if action != "sync_from"] == (["step_down"] if server is primary else [])
        assert bench.primary() is not server
        restart(server)
        back = gate(bench, step="return", member=host, restarted_after=request)
        assert back.get("failed") is not True, back
        # As a run would that begins anew after the controller died here.
        assert set(gate(bench, restarted_after=request)["order"]) == set(planned["order"][number + 1 :])
    assert gate(bench, restarted_after=request)["plan"] == []


def test_nobody_copies_from_a_member_that_goes(bench: Bench) -> None:
    """Whoever did would leave writes waiting while it looks for another source."""
    for leaving in [server for server in bench.servers if server is not bench.primary()] + [bench.primary()]:
        was_primary = leaving is bench.primary()
        staying = [server for server in bench.servers if server is not leaving]
        # As it is after some elections: everybody copies from the one that is to go next.
        for server in staying:
            if server is not bench.primary():
                copy_from(bench, server, leaving)
        left = gate(bench, step="leave", member=leaving.host)
        assert [step["action"] for step in left["steps_done"]] == ["sync_from"] + ["step_down"] * was_primary, left
        primary = bench.primary()
        sources = {server.host: server.ask("replSetGetStatus", "admin")["syncSourceHost"] for server in staying if server is not primary}
        assert set(sources.values()) == {primary.host}, sources
        restart(leaving)
        assert gate(bench, step="return", member=leaving.host).get("failed") is not True


def copy_from(bench: Bench, server: Mongod, source: Mongod) -> None:
    """Let a member copy from another one; the server takes a source only while it is ahead, so something has to be written."""
    deadline = time.monotonic() + 60
    while server.ask("replSetGetStatus", "admin")["syncSourceHost"] != source.host:
        assert time.monotonic() < deadline, f"{server.host} does not copy from {source.host}"
        with server.client("admin") as client:
            client.admin.command("replSetSyncFrom", source.host)
        with bench.primary().client("admin") as client:
            client.linda.notes.insert_one({})
        time.sleep(0.3)


def test_who_comes_back_as_it_was_is_refused(bench: Bench) -> None:
    member = next(server for server in bench.servers if server is not bench.primary())
    result = gate(bench, step="return", member=member.host, restarted_after=time.time())
    assert result["code"] == "not_effective"
    assert "has not been restarted since the request" in result["msg"]


def test_reasons_that_no_server_shows_come_from_the_caller(bench: Bench) -> None:
    first, second, _third = bench.servers
    planned = gate(bench, due=[first.host], changed={second.host: time.time()})
    assert set(planned["order"]) == {first.host, second.host}
    assert gate(bench, changed={second.host: 1.0})["order"] == []
    assert gate(bench, changed={second.host: "yesterday"})["code"] == "bad_changed"


def test_what_cannot_be_the_next_version(bench: Bench) -> None:
    assert set(gate(bench, version="6.0.27")["order"]) == {server.host for server in bench.servers}
    for version, code in [("6.0.4", "downgrade"), ("5.0.31", "downgrade"), ("8.0.1", "skips_major"), ("6.3.0", "unknown_series")]:
        assert gate(bench, version=version)["code"] == code
    assert gate(bench, tls_mode="requireTLS", cluster_auth_mode="keyFile")["order"] == []
    assert len(gate(bench, tls_mode="requireTLS", cluster_auth_mode="sendKeyFile")["order"]) == 3
    assert gate(bench, tls_mode="requireTLS", cluster_auth_mode="x509")["code"] == "skips_step"
    assert gate(bench, tls_mode="allowTLS", cluster_auth_mode="x509")["code"] == "off_the_ladder"


def test_nobody_goes_while_another_is_away(bench: Bench) -> None:
    away, stays = [server for server in bench.servers if server is not bench.primary()]
    away.kill()
    refused = gate(bench, step="leave", member=stays.host, wait=1)
    assert refused["code"] in ("majority_lost", "unhealthy"), refused
    assert away.host in refused["msg"] or "voters" in refused["msg"]
    # The one that is away comes first, and nothing stands in its way.
    assert gate(bench)["order"] == [away.host]
    assert gate(bench, step="leave", member=away.host).get("failed") is not True
    assert gate(bench, step="leave", member="127.0.0.1:9")["code"] == "not_a_member"
    # Waiting ends as soon as the other one is back.
    begun = threading.Timer(1.0, away.start)
    begun.start()
    waited = gate(bench, step="leave", member=stays.host, wait=60)
    begun.join()
    assert waited.get("failed") is not True, waited


def test_nobody_goes_while_indexes_are_built(bench: Bench) -> None:
    primary = bench.primary()
    with primary.client("admin") as client:
        client.linda.big.insert_many([{"a": n} for n in range(10)])
    # A build waits for the votes of all members; one that is away keeps it going.
    away = next(server for server in bench.servers if server is not primary)
    away.kill()

    def build() -> None:
        with primary.client("admin") as client:
            client.linda.command("createIndexes", "big", indexes=[{"key": {"a": 1}, "name": "a"}], commitQuorum=3)

    builder = threading.Thread(target=build)
    builder.start()
    third = next(server for server in bench.servers if server not in (primary, away))
    refused = gate(bench, step="leave", member=third.host, wait=2)
    assert "linda.big" in refused["msg"], refused
    away.start()
    builder.join()
    assert gate(bench, step="return", member=away.host).get("failed") is not True


def test_the_feature_compatibility_version(bench: Bench) -> None:
    server = bench.servers[1]
    login = bench.login(server, login_addresses=[one.host for one in bench.servers])
    unchanged = run("mongodb_feature_compatibility", {**login, "version": "6.0"})
    assert (unchanged["changed"], unchanged["plan"], unchanged["state"]) == (False, [], "6.0"), unchanged
    with bench.primary().client("admin") as client:
        client.admin.command("setFeatureCompatibilityVersion", "5.0")
    predicted = run("mongodb_feature_compatibility", {**login, "version": "6.0"}, check=True)
    done = run("mongodb_feature_compatibility", {**login, "version": "6.0"})
    assert done.get("failed") is not True, done
    assert (done["changed"], done["plan"], done["diff"]) == (predicted["changed"], predicted["plan"], predicted["diff"])
    assert done["steps_done"] == predicted["plan"]
    assert not run("mongodb_feature_compatibility", {**login, "version": "6.0"})["changed"]
    for version, code in [("5.0", "mixed_versions"), ("7.0", "mixed_versions"), ("6.3", "unknown_series")]:
        assert run("mongodb_feature_compatibility", {**login, "version": version})["code"] == code
