"""What indexes cost: budgets of mongodb_indexes, and side by side with community.mongodb, on one server in one run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.support.ansible import PLAYBOOK, ROOT

sys.path.insert(0, str(ROOT / "tests"))
from mongodb_support import ADMIN_WORD, APP_NAME, Bench, Mongod, run

from lab.mirror import mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
# The module alone, without what Ansible needs to start it: the clock runs from the first line of main() to its last.
INSIDE = """
import sys, time
from ansible_collections.linda.ops.plugins.modules import mongodb_indexes
started = time.perf_counter()
try:
    mongodb_indexes.main()
finally:
    print(time.perf_counter() - started, file=sys.stderr)
"""
PASSES = 5

Row = Callable[[str, str, str], None]


@dataclass
class Cost:
    """What one run cost, seen from outside and by the server."""

    seconds: float
    commands: int
    connections: int

    def shown(self) -> str:
        return f"{self.commands} commands, {self.connections} connections"


class Scene:
    """A replica set of one on loopback with an administrator."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        (self.server,) = bench.start(1)
        run("mongodb_replset", bench.login(self.server, members=[self.server.host], election_timeout_millis=1000))
        run("mongodb_users", bench.login(self.server, users=[{"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}]))

    def cost(self, work: Callable[[], object]) -> Cost:
        """Do some work and count what reached the server meanwhile."""
        since = self.server.log.stat().st_size
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
        return Cost(seconds, *counts(self.server, since))

    def play(self, task: dict[str, Any]) -> None:
        """Run a playbook of one task on this machine."""
        with tempfile.TemporaryDirectory() as directory:
            playbook = Path(directory) / "play.yml"
            play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"name": "Indexes", **task}]}
            playbook.write_text(yaml.safe_dump([play]))
            command = [
                str(PLAYBOOK),
                "--inventory=localhost,",
                "--connection=local",
                f"--extra-vars=ansible_python_interpreter={sys.executable}",
            ]
            ended = subprocess.run([*command, str(playbook)], capture_output=True, text=True, check=False, cwd=ROOT, env=environment())
            if ended.returncode:
                sys.exit(f"bench: {task} failed: {ended.stdout}{ended.stderr}")

    def inside(self, arguments: dict[str, Any]) -> float:
        """Seconds between the module's first line and its last."""
        wanted = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_remote_tmp": "/tmp"}}
        ended = subprocess.run(
            [sys.executable, "-c", INSIDE], input=json.dumps(wanted), capture_output=True, text=True, check=False, env=environment()
        )
        if ended.returncode:
            sys.exit(f"bench: {ended.stdout}{ended.stderr}")
        return float(ended.stderr.split()[-1])

    def ours(self, collections: list[dict[str, Any]]) -> dict[str, Any]:
        return {"linda.ops.mongodb_indexes": self.bench.login(self.server, collections=collections)}

    def theirs(self, indexes: Any) -> dict[str, Any]:
        """The same for community.mongodb."""
        login = self.bench.login(self.server)
        login |= {"login_database": "admin", "connection_options": ["tlsAllowInvalidHostnames=true"], "indexes": indexes}
        del login["timeout"]
        return {"community.mongodb.mongodb_index": login}


def environment() -> dict[str, str]:
    """The collection in the checkout, and nothing of the reader's settings."""
    path = str(ROOT / ".collections")
    return {**os.environ, "PYTHONPATH": path, "ANSIBLE_COLLECTIONS_PATH": path, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}


def counts(server: Mongod, since: int) -> tuple[int, int]:
    """Commands and new connections of clients after byte `since` of the server's log, the set's own ones left out."""
    commands = connections = 0
    for line in server.log.read_bytes()[since:].splitlines():
        entry = json.loads(line)
        attributes = entry.get("attr", {})
        connections += entry.get("msg") == "Connection accepted"
        commands += isinstance(attributes.get("command"), dict) and "remote" in attributes
    return commands, connections


def described(database: str, collections: int, each: int, prefix: str = "f") -> list[dict[str, Any]]:
    """Collections with plain indexes."""
    return [
        {"database": database, "collection": f"c{number}", "indexes": [{"keys": [{f"{prefix}{place}": 1}]} for place in range(each)]}
        for number in range(collections)
    ]


def flat(collections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same in the words of community.mongodb."""
    return [
        {
            "database": one["database"],
            "collection": one["collection"],
            "keys": index["keys"][0],
            "options": {"name": f"{next(iter(index['keys'][0]))}_1"},
            "state": "present",
        }
        for one in collections
        for index in one["indexes"]
    ]


def budgets(scene: Scene, row: Row) -> None:
    """500 indexes on 10 collections: made, then unchanged; then 100 more."""
    whole = described("budget", 10, 50)
    login = scene.bench.login(scene.server, collections=whole)
    made = scene.cost(lambda: run("mongodb_indexes", login))
    row("500 indexes on 10 collections, new", f"{made.seconds:.1f} s", made.shown())
    again = scene.cost(lambda: run("mongodb_indexes", login))
    since = scene.server.log.stat().st_size
    inside = [scene.inside(login) for _ in range(PASSES)]
    sent = len(scene.server.commands_of_modules(since)) / PASSES
    note = f"{sent:.0f} commands (budget 21), {working(scene.server, since) / PASSES:.0f} connection in use (budget 1)"
    row("500 unchanged, inside the module", f"{statistics.median(inside):.2f} s", f"budget 0.5 s; {note}")
    row("500 unchanged, the module's process", f"{again.seconds:.1f} s", f"{again.shown()}, those of the driver's own watch among them")
    more = [{**one, "indexes": one["indexes"] + two["indexes"]} for one, two in zip(whole, described("budget", 10, 10, "g"), strict=True)]
    since = scene.server.log.stat().st_size
    grown = scene.cost(lambda: run("mongodb_indexes", {**login, "collections": more}))
    builds = scene.server.commands_of_modules(since).count("createIndexes")
    row("100 new indexes on 10 collections", f"{grown.seconds:.1f} s", f"{builds} createIndexes (budget 10)")


def working(server: Mongod, since: int) -> int:
    """Connections of our modules over which more than the driver's greeting went."""
    used = set()
    for line in server.log.read_bytes()[since:].splitlines():
        entry = json.loads(line)
        attributes = entry.get("attr", {})
        command = attributes.get("command")
        if attributes.get("appName") == APP_NAME and isinstance(command, dict) and next(iter(command)) not in ("hello", "ismaster"):
            used.add(entry["ctx"])
    return len(used)


def beside(scene: Scene, row: Row) -> None:
    """The same indexes by both collections, each in a database of its own, first and again."""
    few, many = described("ours30", 3, 10), described("ours500", 10, 50)
    few_theirs = {**scene.theirs(["{{ item }}"]), "loop": flat(described("theirs30", 3, 10))}
    many_theirs = scene.theirs(flat(described("theirs500", 10, 50)))
    for label, ours, theirs in (
        ("30 indexes, a loop there and a list here", scene.ours(few), few_theirs),
        ("500 indexes in one list", scene.ours(many), many_theirs),
    ):
        for when in ("new", "again"):
            one = scene.cost(partial(scene.play, theirs))
            other = scene.cost(partial(scene.play, ours))
            row(f"{label}, {when}", f"{one.seconds / other.seconds:.1f} x", f"{one.seconds:.1f} s against {other.seconds:.1f} s")
            row("  their server's share of it", f"{one.commands / max(other.commands, 1):.1f} x", f"{one.shown()} against {other.shown()}")


def measure(row: Row) -> None:
    """Start a server, measure, print, and stop it."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(mongod_binary(CACHE), Path(directory))
        try:
            scene = Scene(bench)
            print("\nMongoDB indexes, one mongod on loopback; times are of whole playbook runs unless they say otherwise")
            budgets(scene, row)
            print("community.mongodb against linda.ops, the same server")
            beside(scene, row)
        finally:
            bench.stop()
