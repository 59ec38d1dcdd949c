"""What the role mongodb does when the application's password is rotated, against a real set; the application is a client of the test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest
from mongodb_support import ADMIN_WORD, ROOT, Bench, run

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
WORDS = {"linda": "the-password-of-the-year", "linda_next": "the-password-of-the-next-year"}


@dataclass(frozen=True)
class Play:
    """One run of the role's tasks of a phase, on the member as its host."""

    code: int
    output: str

    @property
    def changed(self) -> bool:
        return "changed=0" not in self.output


@dataclass
class Fleet:
    """One member with the role's users, and how to run a phase on it."""

    bench: Bench
    directory: Path

    def phase(self, tasks: str, user: str, word: str) -> Play:
        """Run roles/mongodb/tasks/rotate_<tasks>.yml with this account as the one to be used."""
        (server,) = self.bench.servers
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "mongodb_port": server.port,
            "mongodb_admin_password": ADMIN_WORD,
            "mongodb_monitor_password": "the-password-of-monitoring",
            "mongodb_application_user": user,
            "mongodb_application_password": word,
            "mongodb_certificate_ca_file": str(server.authority.file),
        }
        role = {"name": "linda.ops.mongodb", "tasks_from": f"rotate_{tasks}", "rolespec_validate": False}
        play = {"hosts": "mongo1", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
        inventory, playbook = self.directory / "hosts.yml", self.directory / "play.yml"
        inventory.write_text(json.dumps({"all": {"hosts": {"mongo1": variables}}}))
        playbook.write_text(json.dumps([play]))
        own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook)],
            cwd=ROOT,
            env={**os.environ, **own, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert not [name for name, text in WORDS.items() if text in output]
        return Play(done.returncode, " ".join(output.split()))

    def client(self, user: str) -> contextlib.AbstractContextManager[pymongo.MongoClient[dict[str, Any]]]:
        return self.bench.servers[0].client(user, WORDS[user])

    def users(self) -> set[str]:
        with self.bench.servers[0].client("admin") as client:
            return {user["user"] for user in client.admin.command("usersInfo", 1)["users"]}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    bench = Bench(binary, tmp_path_factory.mktemp("rotation"))
    try:
        (server,) = bench.start(1)
        assert run("mongodb_replset", bench.login(server, members=[server.host]))["changed"]
        application = {"name": "linda", "password": WORDS["linda"], "roles": [{"role": "readWrite", "db": "linda"}]}
        admin = {"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}
        assert run("mongodb_users", bench.login(server, users=[admin, application]))["changed"]
        yield Fleet(bench, bench.directory)
    finally:
        bench.stop()


def test_two_accounts_take_turns(fleet: Fleet) -> None:
    with fleet.client("linda") as old:
        old.linda.messages.insert_one({"a": 1})

        in_use = fleet.phase("account", "linda", WORDS["linda_next"])
        assert (in_use.code, "user_in_use" in in_use.output) == (2, True), in_use.output
        assert "set mongodb_application_user to linda_next" in in_use.output
        same = fleet.phase("account", "linda_next", WORDS["linda"])
        assert (same.code, "is the password that linda has now" in same.output) == (2, True), same.output
        assert fleet.users() == {"admin", "linda"}

        for again in (False, True):
            created = fleet.phase("account", "linda_next", WORDS["linda_next"])
            assert (created.code, created.changed) == (0, not again), created.output
        old.linda.messages.insert_one({"a": 2})
        with fleet.client("linda_next") as new:
            new.linda.messages.insert_one({"a": 3})
            with pytest.raises(pymongo.errors.OperationFailure, match="not authorized"):
                new.other.messages.insert_one({"a": 3})
    retired = fleet.phase("retire", "linda_next", WORDS["linda_next"])
    assert (retired.code, retired.changed) == (0, True), retired.output
    assert fleet.users() == {"admin", "linda_next"}
