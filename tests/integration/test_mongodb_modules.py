"""mongodb_replset and mongodb_users as real module runs against real mongods with TLS and key file authentication."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongodb_support import ADMIN_WORD, READING, Bench, Mongod, begin, run

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
QUICK = {"election_timeout_millis": 1000, "heartbeat_interval_millis": 200}
WRONG_WORD = "not-it-at-all"
OTHER_WORD = "other-word-1"
APP = {"name": "app", "password": "app-word-1", "roles": [{"role": "readWrite", "db": "linda"}]}
ADMIN = {"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}
DEBIAN = Path("/usr/lib/python3/dist-packages")


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")


@pytest.fixture
def bench(binary: Path, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(binary, tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ready(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three members and an administrator, for tests that leave them as they were."""
    made = Bench(binary, tmp_path_factory.mktemp("ready"))
    try:
        build(made, made.start(3))
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with nothing but the pymongo of this Debian release."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    return path


def members(*servers: Mongod) -> list[dict[str, Any]]:
    """The first one is preferred as primary, so that the tests know where it is."""
    return [{"host": server.host, **({"priority": 2} if place == 0 else {})} for place, server in enumerate(servers)]


def build(bench: Bench, servers: list[Mongod], *users: dict[str, Any]) -> None:
    assert run("mongodb_replset", bench.login(servers[0], members=members(*servers), **QUICK))["changed"]
    assert run("mongodb_users", bench.login(servers[0], users=[ADMIN, *users]))["changed"]


def config_of(server: Mongod) -> dict[str, Any]:
    with server.client("admin") as client:
        return dict(client.admin.command("replSetGetConfig")["config"])


def actions(result: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(step["action"], step.get("host")) for step in result["plan"]]


@pytest.mark.parametrize("pymongo_of", ["venv", "debian"])
def test_from_nothing_to_a_set_with_users_in_four_steps_each(bench: Bench, pymongo_of: str, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue("debians_driver") if pymongo_of == "debian" else None
    servers = bench.start(3)
    replset = bench.login(servers[0], members=[server.host for server in servers], **QUICK)
    users = bench.login(servers[0], users=[APP, ADMIN])

    early = run("mongodb_users", users, driver=driver)
    assert early["code"] == "no_set"
    for module, arguments, count in (("mongodb_replset", replset, 1), ("mongodb_users", users, 2)):
        predicted = run(module, arguments, check=True, driver=driver)
        assert predicted["changed"], predicted
        assert len(predicted["plan"]) == count
        assert predicted["steps_done"] == []
        if module == "mongodb_users":
            other = next(server for server in servers if not server.hello().get("isWritablePrimary"))
            assert run(module, {**users, "login_port": other.port}, driver=driver)["code"] == "not_primary"
            arguments["login_port"] = bench.primary().port
            assert run(module, {**arguments, "users": [APP]}, driver=driver)["code"] == "first_user_missing"
        for server in servers:
            assert set(server.commands_of_modules()) - READING <= {"replSetInitiate"}

        done = run(module, arguments, driver=driver)
        assert done.get("failed") is not True, done
        assert done["changed"]
        assert done["plan"] == predicted["plan"] == done["steps_done"]
        assert done["diff"] == predicted["diff"]
        for check in (True, False):
            again = run(module, arguments, check=check, driver=driver)
            assert again.get("changed") is False, again
            assert again["plan"] == []

    assert run("mongodb_replset", replset, driver=driver)["state"] == "ready"
    with bench.primary().client("app", APP["password"]) as client:
        client.linda.x.insert_one({"a": 1})
    # The server carries out createUser by an insert and an update of its own, which it logs under the same name.
    sent = [name for server in servers for name in server.commands_of_modules() if name not in READING | {"insert", "update"}]
    assert sorted(sent) == ["createUser", "createUser", "replSetInitiate"]


def test_a_wrong_password_is_another_error_than_no_users_yet(ready: Bench) -> None:
    server = ready.servers[0]
    refused = run("mongodb_users", ready.login(server, login_password=WRONG_WORD, users=[{**ADMIN, "password": WRONG_WORD}]))
    assert refused["code"] == "login_failed"
    assert "users and admin.admin was refused" in refused["msg"]
    assert run("mongodb_replset", ready.login(server, login_password=WRONG_WORD, members=members(*ready.servers)))["code"] == "login_failed"
    anonymous = ready.login(server, users=[ADMIN])
    del anonymous["login_user"], anonymous["login_password"]
    assert run("mongodb_users", anonymous)["code"] == "login_failed"


def test_any_member_is_a_way_in(ready: Bench) -> None:
    secondary = next(server for server in ready.servers if not server.hello()["isWritablePrimary"])
    user = {"name": "guest", "database": "linda", "password": "guest-word", "roles": ["read"]}
    assert run("mongodb_users", ready.login(secondary, users=[user]))["changed"]
    assert not run("mongodb_users", ready.login(secondary, users=[user]))["changed"]
    assert run("mongodb_users", ready.login(secondary, users=[{"name": "guest", "database": "linda", "state": "absent"}]))["changed"]
    assert not run("mongodb_replset", ready.login(secondary, members=members(*ready.servers)))["changed"]


def test_roles_and_passwords(ready: Bench) -> None:
    server = ready.servers[0]

    def reconcile(user: dict[str, Any]) -> list[str]:
        """Check, run, and run again when something was done; returns the reasons of the plan."""
        login = ready.login(server, users=[user])
        predicted = run("mongodb_users", login, check=True)
        done = run("mongodb_users", login)
        assert done.get("failed") is not True, done
        assert (done["changed"], done["plan"], done["diff"]) == (predicted["changed"], predicted["plan"], predicted["diff"])
        assert not done["changed"] or not run("mongodb_users", login)["changed"]
        return [step["reason"] for step in done["plan"]]

    def roles() -> list[tuple[str, str]]:
        with server.client("admin") as client:
            (found,) = client.admin.command("usersInfo", {"user": "worker", "db": "admin"})["users"]
        return sorted((role["role"], role["db"]) for role in found["roles"])

    worker = {"name": "worker", "password": "worker-word-1", "roles": [{"role": "readWrite", "db": "linda"}]}
    assert reconcile(worker) == ["create admin.worker"]
    assert reconcile({"name": "worker"}) == []
    assert roles() == [("readWrite", "linda")]
    assert reconcile({**worker, "password": "worker-word-2"}) == ["change password of admin.worker"]
    assert reconcile({**worker, "password": "worker-word-3", "update_password": "on_create"}) == []
    with server.client("worker", "worker-word-2") as client:
        client.admin.command("ping")
    assert reconcile({"name": "worker", "roles": ["clusterMonitor"]}) == ["change roles of admin.worker"]
    assert roles() == [("clusterMonitor", "admin")]
    assert reconcile({"name": "worker", "roles": []}) == ["change roles of admin.worker"]
    assert roles() == []
    assert run("mongodb_users", ready.login(server, users=[{"name": "worker", "roles": ["raed"]}]))["code"] == "unknown_role"
    assert reconcile({"name": "worker", "state": "absent"}) == ["remove admin.worker"]


def test_a_password_is_judged_by_a_login_where_credentials_may_not_be_read(ready: Bench) -> None:
    server = ready.servers[0]
    keeper = {"name": "keeper", "password": "keeper-word", "roles": ["userAdminAnyDatabase"]}
    with server.client("admin") as client:
        client.admin.command(
            "createRole",
            "lookup",
            privileges=[{"resource": {"db": "linda", "collection": ""}, "actions": ["viewRole"]}],
            roles=[],
        )
    run("mongodb_users", ready.login(server, users=[keeper, {"name": "other", "password": OTHER_WORD, "roles": ["lookup"]}]))
    own = ready.login(server, login_user="other", login_password=OTHER_WORD)
    same = run("mongodb_users", {**own, "users": [{"name": "other", "password": OTHER_WORD}]}, check=True)
    assert (same["changed"], same["state"]) == (False, "ready"), same
    changed = run("mongodb_users", {**own, "users": [{"name": "other", "password": "other-2"}]}, check=True)
    assert [step["reason"] for step in changed["plan"]] == ["change password of admin.other"]
    denied = run("mongodb_users", {**own, "users": [{"name": "other", "password": "other-2"}]})
    assert denied["code"] == "not_authorized"
    run("mongodb_users", ready.login(server, users=[{"name": name, "state": "absent"} for name in ("keeper", "other")]))


def test_properties_and_settings_are_kept_as_described(ready: Bench) -> None:
    first, second, third = ready.servers
    described = members(first, second, third)
    described[2] |= {"priority": 0, "hidden": True, "tags": {"dc": "east"}}
    login = ready.login(first, members=described, chaining_allowed=False, **QUICK)
    version = config_of(first)["version"]
    predicted = run("mongodb_replset", login, check=True)
    assert config_of(first)["version"] == version
    done = run("mongodb_replset", login)
    assert done["steps_done"] == predicted["plan"]
    assert done["diff"] == predicted["diff"]
    assert "priority 1.0 -> 0.0" in done["plan"][0]["reason"]
    config = config_of(first)
    assert config["version"] == version + 1
    assert (config["members"][2]["hidden"], config["members"][2]["tags"], config["settings"]["chainingAllowed"]) == (
        True,
        {"dc": "east"},
        False,
    )
    assert not run("mongodb_replset", login)["changed"]
    back = run("mongodb_replset", ready.login(first, members=members(*ready.servers), chaining_allowed=True))
    assert back["changed"]
    assert config_of(first)["members"][2]["tags"] == {}


def test_check_mode_sends_no_write(ready: Bench) -> None:
    sizes = {server.port: server.log.stat().st_size for server in ready.servers}
    changes = [
        run("mongodb_replset", ready.login(ready.servers[0], members=[ready.servers[1].host]), check=True),
        run("mongodb_replset", ready.login(ready.servers[0], members=members(*ready.servers), election_timeout_millis=5000), check=True),
        run(
            "mongodb_users", ready.login(ready.servers[0], users=[APP, {"name": "admin", "password": "new", "roles": ["root"]}]), check=True
        ),
    ]
    assert [change["changed"] for change in changes] == [True, True, True], changes
    assert all(change["steps_done"] == [] for change in changes)
    sent = [name for server in ready.servers for name in server.commands_of_modules(sizes[server.port])]
    assert {"replSetGetConfig", "usersInfo"} <= set(sent), "the servers' logs do not show what was sent"
    assert set(sent) <= READING


def test_what_the_connection_can_say(ready: Bench, tmp_path: Path) -> None:
    server = ready.servers[0]
    stranger = Bench(server.binary, tmp_path)
    login = ready.login(server, members=members(*ready.servers), timeout=3)
    cases = {
        "tls_failed": {**login, "ssl_ca_certs": str(stranger.authority.file)},
        "connection_lost": {key: value for key, value in login.items() if not key.startswith("ssl")},
        "bad_tls": {**login, "ssl": False},
        "bad_login": {**login, "timeout": 0},
        "bad_host": {**login, "login_port": 0},
        "not_running": {**login, "login_port": 9},
        "unknown_host": {**login, "login_host": "no-such-host.invalid"},
        "wrong_set": {**login, "replica_set": "other"},
        "even_voters": {**login, "members": members(*ready.servers)[:2]},
        "duplicate_member": {**login, "members": [*members(*ready.servers), server.host]},
    }
    for code, arguments in cases.items():
        result = run("mongodb_replset", arguments)
        assert result.get("code") == code, (code, result)
        assert result["failed"]
        assert result["steps_done"] == []
    predicted = run("mongodb_replset", cases["not_running"], check=True)
    assert (predicted["changed"], predicted["state"], actions(predicted)) == (True, "not_running", [("initiate", None)])
    predicted = run("mongodb_users", {**cases["not_running"], "users": [ADMIN]}, check=True)
    assert predicted["failed"], "an unknown option is refused"


def test_grow_to_five_and_shrink_past_the_primary(bench: Bench) -> None:
    servers = bench.start(3)
    build(bench, servers)
    more = bench.start(2)
    grown = bench.login(servers[1], members=members(*servers, *more))
    predicted = run("mongodb_replset", grown, check=True)
    assert [action for action, _host in actions(predicted)] == ["reconfigure", "wait_caught_up", "reconfigure"] * 2
    done = run("mongodb_replset", grown)
    assert done.get("failed") is not True, done
    config = config_of(servers[0])
    assert [(member["_id"], member["votes"], member["priority"]) for member in config["members"]] == [
        (0, 1, 2),
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (4, 1, 1),
    ]
    assert not run("mongodb_replset", grown)["changed"]

    shrunk = bench.login(servers[1], members=[server.host for server in (servers[1], *more)])
    done = run("mongodb_replset", shrunk)
    assert done.get("failed") is not True, done
    assert ("step_down", servers[0].host) in actions(done)
    config = config_of(servers[1])
    assert {member["host"]: member["_id"] for member in config["members"]} == {servers[1].host: 1, more[0].host: 3, more[1].host: 4}
    assert not run("mongodb_replset", shrunk)["changed"]

    # A machine that was emptied: it has no set, but the set is still there, and so nothing is initiated anew.
    version = config["version"]
    assert not run("mongodb_replset", {**shrunk, "login_port": servers[0].port})["changed"]
    assert config_of(servers[1])["version"] == version

    # A machine that is in a set of its own is not taken.
    (other,) = bench.start(1)
    own = bench.login(other, members=[other.host], **QUICK)
    assert run("mongodb_replset", own)["changed"]
    stolen = run("mongodb_replset", {**shrunk, "members": [*shrunk["members"], other.host, servers[2].host]})
    assert stolen["code"] == "member_of_other_set"
    assert stolen["steps_done"] == []
    gone = run("mongodb_replset", {**shrunk, "members": [*shrunk["members"], "127.0.0.1:9", servers[2].host]})
    assert gone["code"] == "member_unreachable"


def test_killed_after_each_step_the_next_run_ends_right(bench: Bench) -> None:
    servers = bench.start(3)
    first = bench.login(servers[0], members=[servers[0].host], **QUICK)
    whole = bench.login(servers[0], members=members(*servers), **QUICK)
    users = bench.login(servers[0], users=[ADMIN, APP, {"name": "third", "password": "third-word", "roles": []}])

    def version() -> int:
        return int(servers[0].hello().get("setVersion", 0))

    def kill_when(process: subprocess.Popen[str], condition: Any) -> bool:
        """End the module as soon as the server shows the step; False when it was faster."""
        while process.poll() is None:
            if condition():
                process.kill()
                process.communicate()
                return True
            time.sleep(0.002)
        process.communicate()
        return False

    kills = 0
    # The first start: the set is initiated and the module dies before it sees the primary.
    kills += kill_when(begin("mongodb_replset", first), lambda: version() >= 1)
    again = run("mongodb_replset", first)
    assert again.get("failed") is not True, again
    bench.servers, all_servers = servers[:1], bench.servers
    bench.primary()
    bench.servers = all_servers

    def user_count() -> int:
        with servers[0].client("admin") as client:
            return len(client.admin.command("usersInfo", 1)["users"])

    def an_admin() -> bool:
        try:
            return user_count() >= 1
        except Exception:
            return False

    kills += kill_when(begin("mongodb_users", users), an_admin)
    kills += kill_when(begin("mongodb_users", users), lambda: user_count() >= 2)
    assert not run("mongodb_users", users).get("failed")
    assert user_count() == 3
    assert not run("mongodb_users", users)["changed"]

    # Growing: killed at every new version of the configuration.
    for _attempt in range(12):
        now = version()
        kills += kill_when(begin("mongodb_replset", whole), lambda now=now: version() > now)
        voters = [member for member in config_of(servers[0])["members"] if member["votes"]]
        assert len(voters) in (1, 2, 3)
        if len(voters) == 3:
            break
    done = run("mongodb_replset", whole)
    assert done.get("failed") is not True, done
    assert [(member["_id"], member["votes"], member["priority"]) for member in config_of(servers[0])["members"]] == [
        (0, 1, 2),
        (1, 1, 1),
        (2, 1, 1),
    ]
    assert not run("mongodb_replset", whole)["changed"]
    assert kills >= 5, "the modules were too fast to be killed"


def test_a_server_without_a_set_name(bench: Bench) -> None:
    (server,) = bench.start(1, set_name="")
    assert run("mongodb_replset", bench.login(server, members=[server.host]))["code"] == "not_replicated"
    users = bench.login(server, users=[ADMIN, APP])
    assert run("mongodb_users", users)["changed"]
    again = run("mongodb_users", users)
    assert (again["changed"], again["state"]) == (False, "standalone")


def test_without_a_driver_check_mode_predicts_and_a_run_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pymongo.py").write_text("raise ImportError('not here')\n")
    arguments = {"members": ["a", "b", "c"]}
    predicted = run("mongodb_replset", arguments, check=True, driver=tmp_path)
    assert (predicted["changed"], predicted["state"]) == (True, "no_driver")
    assert run("mongodb_replset", arguments, driver=tmp_path)["code"] == "no_driver"
    login = {"login_user": "admin", "login_password": ADMIN_WORD, "users": [ADMIN]}
    assert run("mongodb_users", login, check=True, driver=tmp_path)["changed"]
    assert run("mongodb_users", login, driver=tmp_path)["code"] == "no_driver"
