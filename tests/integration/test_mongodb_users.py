"""mongodb_users against real mongods: roles of our own, certificates, restrictions, who is unknown, who is in use, and drift."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pymongo
import pytest
from mongodb_support import ADMIN_WORD, READING, ROOT, Bench, Mongod, begin, inside, run

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
DEBIAN = Path("/usr/lib/python3/dist-packages")
QUICK = {"election_timeout_millis": 1000, "heartbeat_interval_millis": 200}
ADMIN = {"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}
WORD = "kept-in-the-vault"
WORKER: dict[str, Any] = {
    "name": "worker",
    "password": WORD,
    "roles": ["messages_writer", {"role": "read", "db": "linda"}],
    "mechanisms": ["SCRAM-SHA-256"],
    "authentication_restrictions": [{"clientSource": ["127.0.0.0/8", "2001:db8::/32"]}],
    "custom_data": {"team": "messages"},
}
WRITER: dict[str, Any] = {
    "name": "messages_writer",
    "privileges": [{"resource": {"db": "linda", "collection": "messages"}, "actions": ["find", "insert"]}],
    "roles": ["messages_reader"],
    "authentication_restrictions": [{"clientSource": ["127.0.0.1"]}],
}
READER: dict[str, Any] = {
    "name": "messages_reader",
    "privileges": [{"resource": {"db": "linda", "collection": ""}, "actions": ["listIndexes"]}],
}
CLIENT = "CN=client"
# The server looks up roles by a find of its own, which it logs under our name; $currentOp is an aggregate.
LOOKING = READING | {"aggregate", "find"}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three members and an administrator; a test leaves them as they were."""
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    bench = Bench(binary, tmp_path_factory.mktemp("users"))
    try:
        servers = bench.start(3)
        members = [{"host": server.host, **({"priority": 2} if place == 0 else {})} for place, server in enumerate(servers)]
        assert run("mongodb_replset", bench.login(servers[0], members=members, **QUICK))["changed"]
        assert run("mongodb_users", bench.login(servers[0], users=[ADMIN]))["changed"]
        yield bench
    finally:
        bench.stop()


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with nothing but the pymongo of this Debian release."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    return path


@pytest.fixture
def server(ready: Bench) -> Iterator[Mongod]:
    """The primary; users and roles of the test are gone afterwards."""
    primary = ready.servers[0]
    yield primary
    with primary.client("admin") as client:
        for user in client.admin.command("usersInfo", {"forAllDBs": True})["users"]:
            if user["user"] != "admin":
                client[user["db"]].command("dropUser", user["user"])
        client.admin.command("dropAllRolesFromDatabase")


def command(server: Mongod, name: str, value: Any, *, database: str = "admin", **fields: Any) -> dict[str, Any]:
    """One command of the administrator's, behind the module's back."""
    with server.client("admin") as client:
        return dict(client[database].command(name, value, **fields))


def reconcile(bench: Bench, driver: Path | None = None, *, again: bool = True, **described: Any) -> list[str]:
    """Check and run, and once more when something was done; returns the reasons of the plan."""
    login = bench.login(bench.servers[0], **described)
    start = inside if driver is None else partial(run, driver=driver)
    before = {server.port: server.log.stat().st_size for server in bench.servers}
    predicted = start("mongodb_users", login, check=True)
    assert predicted.get("failed") is not True, predicted
    sent = {name for server in bench.servers for name in server.commands_of_modules(before[server.port])}
    assert sent <= LOOKING, "a check wrote"
    done = start("mongodb_users", login)
    assert done.get("failed") is not True, done
    assert (done["changed"], done["plan"], done["diff"]) == (predicted["changed"], predicted["plan"], predicted["diff"])
    assert done["steps_done"] == done["plan"]
    assert (done["diff"]["before"] != done["diff"]["after"]) is done["changed"]
    if done["changed"] and again:
        unchanged = start("mongodb_users", login)
        assert (unchanged["changed"], unchanged["plan"]) == (False, []), unchanged
    return [step["reason"] for step in done["plan"]]


@pytest.mark.parametrize("pymongo_of", ["venv", "debian"])
def test_users_with_roles_of_our_own(ready: Bench, server: Mongod, pymongo_of: str, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue("debians_driver") if pymongo_of == "debian" else None
    external = {"name": CLIENT, "database": "$external", "roles": [{"role": "messages_reader", "db": "admin"}]}
    assert reconcile(ready, driver, users=[WORKER, external], custom_roles=[WRITER, READER]) == [
        "create role messages_reader@admin",
        "create role messages_writer@admin",
        "create admin.worker",
        f"create $external.{CLIENT}",
    ]
    with server.client("worker", WORD) as client:
        client.linda.messages.insert_one({"a": 1})
        with pytest.raises(pymongo.errors.OperationFailure, match="not authorized"):
            client.linda.other.insert_one({"a": 1})
    # What is not said is not touched.
    assert (
        reconcile(
            ready, driver, users=[{"name": "worker"}, {"name": CLIENT, "database": "$external"}], custom_roles=[{"name": "messages_writer"}]
        )
        == []
    )
    assert reconcile(
        ready,
        driver,
        users=[{"name": "worker", "roles": [], "authentication_restrictions": []}, {**external, "state": "absent"}],
        custom_roles=[{"name": "messages_writer", "state": "absent"}, {"name": "messages_reader", "state": "absent"}],
    ) == [
        "change roles and authentication_restrictions of admin.worker",
        f"remove $external.{CLIENT}",
        "remove role messages_writer@admin",
        "remove role messages_reader@admin",
    ]


def test_a_new_password_keeps_the_mechanisms(ready: Bench, server: Mongod) -> None:
    def mechanisms() -> list[str]:
        return list(command(server, "usersInfo", "worker")["users"][0]["mechanisms"])

    plain = {"name": "worker", "password": WORD, "roles": []}
    reconcile(ready, users=[{**plain, "mechanisms": ["SCRAM-SHA-256"]}])
    assert reconcile(ready, users=[{**plain, "password": "another-word"}]) == ["change password of admin.worker"]
    assert mechanisms() == ["SCRAM-SHA-256"], "the server itself falls back to all when a password comes without"
    both = ["SCRAM-SHA-1", "SCRAM-SHA-256"]
    refused = run("mongodb_users", ready.login(server, users=[{"name": "worker", "mechanisms": both}]))
    assert refused["code"] == "password_missing"
    assert reconcile(ready, users=[{**plain, "password": "another-word", "mechanisms": both}]) == ["change mechanisms of admin.worker"]
    assert sorted(mechanisms()) == both
    assert reconcile(ready, users=[{"name": "worker", "mechanisms": ["SCRAM-SHA-1"]}]) == ["change mechanisms of admin.worker"]
    assert reconcile(ready, users=[{**plain, "password": "another-word"}]) == [], "recognised by SCRAM-SHA-1 too"


RESTRICTED = [{"clientSource": ["192.0.2.0/24"]}]
GRANTED = [{"resource": {"db": "linda", "collection": "messages"}, "actions": ["remove"]}]
DRIFT: dict[str, tuple[Callable[[Mongod], object], str]] = {
    "a role is added to a user": (lambda s: command(s, "grantRolesToUser", "worker", roles=["root"]), "change roles of admin.worker"),
    "a role is taken from a user": (
        lambda s: command(s, "revokeRolesFromUser", "worker", roles=["messages_writer"]),
        "change roles of admin.worker",
    ),
    "a user is missing": (lambda s: command(s, "dropUser", "worker"), "create admin.worker"),
    "a user is one too many": (lambda s: command(s, "createUser", "stranger", pwd=WORD, roles=["root"]), "remove admin.stranger"),
    "a password is another": (
        lambda s: command(s, "updateUser", "worker", pwd=WORD[::-1], mechanisms=["SCRAM-SHA-256"]),
        "change password of admin.worker",
    ),
    "mechanisms are others": (
        lambda s: command(s, "updateUser", "worker", pwd=WORD, mechanisms=["SCRAM-SHA-1"]),
        "change mechanisms of admin.worker",
    ),
    "restrictions are others": (
        lambda s: command(s, "updateUser", "worker", authenticationRestrictions=RESTRICTED),
        "change authentication_restrictions of admin.worker",
    ),
    "restrictions are gone": (
        lambda s: command(s, "updateUser", "worker", authenticationRestrictions=[]),
        "change authentication_restrictions of admin.worker",
    ),
    "custom data are others": (
        lambda s: command(s, "updateUser", "worker", customData={"team": "?"}),
        "change custom_data of admin.worker",
    ),
    "a privilege is added to a role": (
        lambda s: command(s, "grantPrivilegesToRole", "messages_writer", privileges=GRANTED),
        "change privileges of role messages_writer@admin",
    ),
    "a privilege is taken from a role": (
        lambda s: command(s, "updateRole", "messages_writer", privileges=[]),
        "change privileges of role messages_writer@admin",
    ),
    "a role inherits another": (
        lambda s: command(s, "grantRolesToRole", "messages_writer", roles=["root"]),
        "change roles of role messages_writer@admin",
    ),
    "a role does not inherit any more": (
        lambda s: command(s, "updateRole", "messages_writer", roles=[]),
        "change roles of role messages_writer@admin",
    ),
    "restrictions of a role are others": (
        lambda s: command(s, "updateRole", "messages_writer", authenticationRestrictions=RESTRICTED),
        "change authentication_restrictions of role messages_writer@admin",
    ),
}


def test_what_was_changed_behind_our_back_is_shown_and_repaired(ready: Bench, server: Mongod) -> None:
    described: dict[str, Any] = {"users": [ADMIN, WORKER], "custom_roles": [WRITER, READER], "unmanaged": "drop"}
    reconcile(ready, **described)
    for what, (drift, reason) in DRIFT.items():
        drift(server)
        # One reason and no other: what was repaired before stays repaired.
        assert reconcile(ready, again=False, **described) == [reason], what
    # A role that goes takes itself from whoever had it.
    command(server, "dropRole", "messages_writer")
    assert reconcile(ready, **described) == ["create role messages_writer@admin", "change roles of admin.worker"]


def test_who_is_unknown_is_kept_reported_or_removed(ready: Bench, server: Mongod) -> None:
    command(server, "createUser", "expected", pwd=WORD, roles=[])
    command(server, "createUser", "stranger", database="linda", pwd=WORD, roles=[])
    allowed: dict[str, Any] = {"users": [], "unmanaged_allowed": ["admin.expected"]}
    assert reconcile(ready, **allowed) == []
    told = run("mongodb_users", ready.login(server, **allowed, unmanaged="report"))
    assert (told["changed"], told["unmanaged"]) == (False, ["linda.stranger"])
    assert "linda.stranger" in json.dumps(told["warnings"])
    # The account that is logged in is not listed either, and stays.
    assert reconcile(ready, **allowed, unmanaged="drop") == ["remove linda.stranger"]
    left = command(server, "usersInfo", {"forAllDBs": True})["users"]
    assert {user["user"] for user in left} == {"admin", "expected"}


@pytest.mark.parametrize("pymongo_of", ["venv", "debian"])
def test_a_login_by_certificate(ready: Bench, server: Mongod, pymongo_of: str, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue("debians_driver") if pymongo_of == "debian" else None
    keeper = {"name": "CN=keeper", "database": "$external", "roles": [{"role": "root", "db": "admin"}]}
    reconcile(ready, users=[keeper])
    login: dict[str, Any] = ready.login(server, ssl_certfile=str(ready.authority.leaf("keeper").both), auth_mechanism="MONGODB-X509")
    del login["login_user"], login["login_password"]
    guest = {"name": "guest", "password": WORD, "roles": ["read"]}
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        result = run("mongodb_users", {**login, "users": [guest]}, check=check, driver=driver)
        assert result.get("failed") is not True, result
        assert (result["changed"], result["state"]) == (changed, "ready")
    # It knows itself by what the server says: neither removed as unknown nor on request.
    drop = {**login, "users": [ADMIN, guest], "unmanaged": "drop"}
    assert run("mongodb_users", drop, driver=driver)["plan"] == []
    assert run("mongodb_users", {**login, "users": [{**keeper, "state": "absent"}]}, driver=driver)["code"] == "drops_login_user"
    stranger = {**login, "ssl_certfile": str(ready.authority.leaf("stranger").both), "users": []}
    refused = run("mongodb_users", stranger, driver=driver)
    assert refused["code"] == "login_failed"
    assert "none of $external" in refused["msg"]


def test_an_account_in_use_is_not_taken_away(ready: Bench, server: Mongod) -> None:
    reconcile(ready, users=[{"name": "worker", "password": WORD, "roles": ["root"]}])
    secondary = next(one for one in ready.servers if not one.hello()["isWritablePrimary"])
    gone = {"name": "worker", "state": "absent"}
    with secondary.client("worker", WORD) as client:
        client.admin.command("ping")
        for change in (gone, {"name": "worker", "password": "another-word"}):
            refused = run("mongodb_users", ready.login(server, users=[{**change, "in_use": "refuse"}]))
            assert refused["code"] == "user_in_use", refused
            assert "1 connections: 127.0.0.1:" in refused["msg"]
            assert refused["msg"].endswith(f" on {secondary.host}.")
        late = run("mongodb_users", ready.login(server, users=[{**gone, "in_use": "wait"}], timeout=1))
        assert late["code"] == "user_in_use"
        assert late["steps_done"] == []
        waiting = begin("mongodb_users", ready.login(server, users=[{**gone, "in_use": "wait"}]))
        size = server.log.stat().st_size
        deadline = time.monotonic() + 20
        while "aggregate" not in server.commands_of_modules(size):
            assert time.monotonic() < deadline, "it does not look who is logged in"
    out, err = waiting.communicate(timeout=30)
    done = json.loads(out)
    assert [step["action"] for step in done["steps_done"]] == ["wait_unused", "drop_user"], (done, err)
    assert run("mongodb_users", ready.login(server, users=[{**gone, "in_use": "wait"}]))["changed"] is False


FIND = [{"resource": {"db": "linda", "collection": ""}, "actions": ["find"]}]
REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("unknown_action", "fnid", {"custom_roles": [{"name": "r", "privileges": [{**FIND[0], "actions": ["fnid"]}]}]}),
    ("builtin_role", "read@linda", {"custom_roles": [{"name": "read", "database": "linda", "privileges": FIND}]}),
    ("unknown_role", "raed@admin", {"custom_roles": [{"name": "r", "roles": ["raed"]}]}),
    ("unknown_role", "raed@linda", {"users": [{"name": "a", "password": WORD, "roles": [{"role": "raed", "db": "linda"}]}]}),
    ("password_missing", "admin.a", {"users": [{"name": "a", "roles": []}]}),
    ("role_in_use", "admin.holder", {"custom_roles": [{"name": "held", "state": "absent"}]}),
    ("locks_out_login_user", "127.0.0.1", {"users": [{**ADMIN, "authentication_restrictions": RESTRICTED}]}),
    ("locks_out_login_user", "without roles", {"users": [{**ADMIN, "roles": []}]}),
    ("drops_login_user", "admin.admin", {"users": [{"name": "admin", "state": "absent"}]}),
]
# Told without looking for a server at all: nothing listens where these ask.
REFUSED_AT_ONCE: list[tuple[str, str, dict[str, Any]]] = [
    ("duplicate_role", "r@admin", {"custom_roles": [{"name": "r"}, {"name": "r"}]}),
    ("bad_user", "RFC2253", {"users": [{"name": "application", "database": "$external", "roles": []}]}),
    ("bad_restriction", "10.0.0.5/8", {"users": [{"name": "a", "authentication_restrictions": [{"clientSource": ["10.0.0.5/8"]}]}]}),
    ("bad_login", "login_user", {"auth_mechanism": "MONGODB-X509"}),
]


def test_what_cannot_be_is_refused_before_the_first_write(ready: Bench, server: Mongod) -> None:
    reconcile(ready, users=[{"name": "holder", "password": WORD, "roles": ["held"]}], custom_roles=[{"name": "held"}])
    sizes = {one.port: one.log.stat().st_size for one in ready.servers}
    for code, says, described in REFUSED:
        result = inside("mongodb_users", ready.login(server, **described))
        assert (result.get("code"), says in result["msg"], result["steps_done"]) == (code, True, []), result
    sent = {name for one in ready.servers for name in one.commands_of_modules(sizes[one.port])}
    assert sent
    assert sent <= LOOKING
    for code, says, described in REFUSED_AT_ONCE:
        result = inside("mongodb_users", ready.login(server, **described, login_port=9))
        assert (result.get("code"), says in result["msg"]) == (code, True), result


def test_the_users_of_the_role_may_do_what_they_are_for_and_no_more(ready: Bench, server: Mongod, tmp_path: Path) -> None:
    names = ("admin", "application", "monitor", "backup")
    words = {f"mongodb_{name}_password": ADMIN_WORD if name == "admin" else f"the-password-of-{name}" for name in names}
    task = {"linda.ops.mongodb_users": {**ready.login(server), "users": "{{ __mongodb_all_users }}"}, "vars": words}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / "mongodb" / part / "main.yml") for part in ("defaults", "vars")],
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [task],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    playbook = str(Path(sys.executable).with_name("ansible-playbook"))
    subprocess.run([playbook, "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")], cwd=ROOT, capture_output=True, check=True)

    def may(user: str, act: Callable[[pymongo.MongoClient[dict[str, Any]]], object]) -> bool:
        with server.client(user, words[f"mongodb_{user}_password"]) as client:
            try:
                act(client)
            except pymongo.errors.OperationFailure as error:
                if error.code != 13:
                    raise
                return False
        return True

    acts: dict[str, tuple[Callable[[pymongo.MongoClient[dict[str, Any]]], object], set[str]]] = {
        "write the application's data": (lambda client: client.linda.messages.insert_one({"a": 1}), {"application"}),
        "read the application's data": (lambda client: client.linda.messages.find_one(), {"application", "backup"}),
        "drop the application's database": (lambda client: client.drop_database("linda"), set()),
        "write elsewhere": (lambda client: client.elsewhere.messages.insert_one({"a": 1}), set()),
        "read elsewhere": (lambda client: client.elsewhere.messages.find_one(), {"backup"}),
        "write the scratch data of checks": (lambda client: client.linda_checks.checks.insert_one({"a": 1}), {"monitor"}),
        "measure the server": (lambda client: client.admin.command("serverStatus"), {"monitor", "backup"}),
        "look at the set": (lambda client: client.admin.command("replSetGetStatus"), {"monitor"}),
        "make users": (lambda client: client.admin.command("createUser", "x", pwd=WORD, roles=[]), set()),
        "give itself rights": (lambda client: client.admin.command("grantRolesToUser", "monitor", roles=["root"]), set()),
        "stop the server": (lambda client: client.admin.command("shutdown"), set()),
    }
    for what, (act, allowed) in acts.items():
        assert {user for user in names[1:] if may(user, act)} == allowed, what


def test_passwords_appear_nowhere(ready: Bench, server: Mongod, tmp_path: Path) -> None:
    words = {"first": "the-first-secret-word", "second": "the-second-secret-word", "admin": ADMIN_WORD}
    (tmp_path / "words.yml").write_text(json.dumps({"words": words}))
    login = {key: value for key, value in ready.login(server).items() if key != "login_password"}
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "vars_files": ["words.yml"],
                    "vars": {"ansible_python_interpreter": sys.executable},
                    "tasks": [
                        {
                            "linda.ops.mongodb_users": {
                                **login,
                                "login_password": "{{ words.admin }}",
                                "users": [{"name": "worker", "password": f"{{{{ words.{word} }}}}", "roles": roles}],
                            },
                            "ignore_errors": True,
                        }
                        for word, roles in (("first", ["read"]), ("second", ["read"]), ("second", ["no-such-role"]))
                    ],
                }
            ]
        )
    )
    arguments = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "-vvv", "--diff"]
    seen: list[str] = []
    with watching_processes(list(words.values()), seen):
        done = subprocess.run([*arguments, str(tmp_path / "play.yml")], cwd=ROOT, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert output.count("change password of admin.worker") >= 1, output
    assert "unknown_role" in output
    assert seen == []
    for word in words.values():
        assert word not in output
        assert not [one.host for one in ready.servers if word in one.log.read_text()]


@contextlib.contextmanager
def watching_processes(words: list[str], seen: list[str]) -> Iterator[None]:
    """Look at the arguments and the environment of every process again and again; what holds one of the words is added to `seen`."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        text = (process / name).read_bytes().decode(errors="replace")
                        seen.extend(f"{process.name} {name}" for word in words if word in text)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
