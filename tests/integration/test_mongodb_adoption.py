"""A cluster that community.mongodb built (the modules of the PyPI package) is adopted with no change, and managed from then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongodb_support import ADMIN_WORD, APP_NAME, READING, Bench, Mongod, inside

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
APP_WORD = "App-word:with/odd@chars%"
READS = READING | {"listIndexes", "listCollections", "getParameter", "find", "aggregate", "connectionStatus", "getDefaultRWConcern"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    made = Bench(binary, tmp_path_factory.mktemp("adoption"))
    made.start(3)
    yield made
    made.stop()


def community(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a module of community.mongodb as a managed host runs it."""
    wanted = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_remote_tmp": "/tmp"}}
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.community.mongodb.plugins.modules.{module}"],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    assert not result.get("failed"), result
    return result


def unchanged(bench: Bench, module: str, arguments: dict[str, Any]) -> None:
    """Check mode and a run both find nothing to do, and send nothing that writes."""
    sizes = {server.port: server.log.stat().st_size for server in bench.servers}
    for check in (True, False):
        result = inside(module, arguments, check=check)
        assert (result.get("failed"), result["changed"], result["plan"]) == (None, False, []), (module, result)
        assert result["state"] == "ready"
    sent = {name for server in bench.servers for name in server.commands_of_modules(sizes[server.port])}
    assert sent, f"the servers' logs do not show what {APP_NAME} sent"
    assert sent <= READS, module


def managed(bench: Bench, module: str, arguments: dict[str, Any], words: str) -> None:
    """A change is predicted, carried out as predicted, and then there is nothing more to do."""
    predicted = inside(module, arguments, check=True)
    assert predicted["changed"], predicted
    assert words in "; ".join(step["reason"] for step in predicted["plan"]), predicted["plan"]
    done = inside(module, arguments)
    assert not done.get("failed"), done
    assert (done["plan"], done["diff"]) == (predicted["plan"], predicted["diff"])
    unchanged(bench, module, arguments)


def test_a_cluster_of_community_mongodb_is_adopted_and_managed(bench: Bench) -> None:
    first, second, third = bench.servers
    tls = {"ssl": True, "ssl_ca_certs": str(bench.authority.file)}
    replset = {
        "login_host": "127.0.0.1",
        "login_port": first.port,
        **tls,
        "replica_set": "rs0",
        "members": [
            {"host": first.host, "priority": 2},
            {"host": second.host, "priority": 1, "tags": {"dc": "east"}},
            {"host": third.host, "priority": 0, "hidden": True},
        ],
        "election_timeout_millis": 1000,
        "heartbeat_timeout_secs": 10,
        "chaining_allowed": True,
        "validate": True,
    }
    assert community("mongodb_replicaset", replset)["changed"]
    assert bench.primary() is first
    login = {**replset_login(first, tls), "login_user": "admin", "login_password": ADMIN_WORD}
    admin = {"name": "admin", "password": ADMIN_WORD, "roles": [{"role": "root", "db": "admin"}]}
    app = {"name": "app", "password": APP_WORD, "roles": ["readWrite", {"role": "read", "db": "reports"}], "database": "linda"}
    assert community("mongodb_user", {**replset_login(first, tls), **admin, "database": "admin"})["changed"]
    assert community("mongodb_user", {**login, **app})["changed"]
    indexes = [
        {"database": "linda", "collection": "messages", "keys": keys, "options": options, "state": "present"}
        for keys, options in (
            ([{"user_id": 1}, {"created_at": -1}], {"name": "by_user"}),
            ([{"provider_message_id": 1}], {"name": "provider", "unique": True}),
            ([{"seen_at": 1}], {"name": "seen", "expireAfterSeconds": 86400}),
            ([{"text": "text"}], {"name": "words"}),
            ([{"place": "2dsphere"}], {"name": "place", "sparse": True}),
        )
    ]
    # community.mongodb has the keys as one mapping, which has no order in YAML's own terms.
    flat = [{**index, "keys": {field: order for key in index["keys"] for field, order in key.items()}} for index in indexes]
    assert community("mongodb_index", {**login, "indexes": flat})["changed"]

    # The tasks as they were but for the name of the module, the users in one list, and the keys in a list that has an order.
    replset |= {"login_user": "admin", "login_password": ADMIN_WORD}
    users = {**login, "replica_set": "rs0", "users": [admin, app]}
    unchanged(bench, "mongodb_replset", replset)
    unchanged(bench, "mongodb_users", users)
    unchanged(bench, "mongodb_indexes", {**login, "indexes": indexes})

    members = [dict(member) for member in replset["members"]]
    members[1]["tags"] = {"dc": "west"}
    managed(bench, "mongodb_replset", {**replset, "members": members, "election_timeout_millis": 2000}, "'west'")
    managed(bench, "mongodb_users", {**users, "users": [admin, {**app, "roles": ["readWrite"]}]}, "app")
    indexes[2] = {**indexes[2], "options": {"name": "seen", "expireAfterSeconds": 172800}}
    managed(bench, "mongodb_indexes", {**login, "indexes": indexes}, "86400 -> 172800")


def replset_login(server: Mongod, tls: dict[str, Any]) -> dict[str, Any]:
    return {"login_host": "127.0.0.1", "login_port": server.port, **tls}
