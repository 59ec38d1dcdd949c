"""The replica set of a drill: its lab, what each member says, and the client that writes all the time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymongo
import yaml
from pymongo.errors import PyMongoError

from tests.drills.mongodb.writer import COLLECTION, DATABASE, Journal
from tests.support.ansible import PLAYBOOK, ROOT, Lab, kill_with_workers

HERE = Path(__file__).parent
SET = "drill"
HEAL_SECONDS = 180.0
# What every member of a drill is like. The long wait of a stopping server is for clients that follow it slowly; ours do not.
DESCRIPTION: Mapping[str, Any] = {
    "mongodb_replica_set_name": SET,
    "mongodb_version": "6.0.5",
    "mongodb_cache_size_gb": 0.25,
    "mongodb_configuration": {"setParameter": {"shutdownTimeoutMillisForSignaledShutdown": 1000}},
    "certificates_organizational_unit": "mongodb",
    "mongodb_tls_mode": "requireTLS",
    "mongodb_cluster_auth_mode": "x509",
}
_PREPARE = """
apt-get -q update
apt-get -q -y install --no-install-recommends nftables
getent passwd mongodb || useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin mongodb
mkdir -p /var/lib/mongodb
mountpoint -q /var/lib/mongodb || mount -t tmpfs -o size=1200m,mode=0755,uid=mongodb,gid=mongodb data /var/lib/mongodb
"""


class DrillError(AssertionError):
    """A promise that the cluster, or the collection, did not keep."""


@dataclass
class Cluster:
    """A lab with a replica set, described by variables of its hosts that the drill may change."""

    lab: Lab
    description: dict[str, Any]
    members: list[str] = field(default_factory=lambda: ["mongo1", "mongo2", "mongo3"])
    writer: subprocess.Popen[str] | None = None
    _secrets: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------------------ life and death

    def up(self) -> None:
        """Start the machines and bring them to their description."""
        self.lab.cli("down", "--purge", check=False)
        self.lab.cli("up", "--fleet", str(HERE / "fleet.yml"), *self.members)
        self.prepare(self.members)
        self.describe()
        self.play(HERE / "converge.yml")
        self.wait_until_healthy("the first start")

    def prepare(self, hosts: Sequence[str]) -> None:
        """Give machines what faults need: a packet filter, and a small file system for the data that can be filled."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: self.lab.execute(host, "sh", "-euc", _PREPARE), hosts))

    def down(self) -> None:
        """End the client and the lab."""
        self.stop_writing()
        self.lab.cli("down", "--purge", check=False)

    def describe(self, **changes: Any) -> None:
        """Change what the inventory says of all members."""
        self.description |= changes
        for host in self.members:
            path = self.lab.inventory / "host_vars" / f"{host}.yml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(self.description))  # JSON is YAML
            path.chmod(0o600)

    def leave_out(self, hosts: Sequence[str]) -> None:
        """Take hosts out of the inventory, as an operator does who gives them up; their machines run on."""
        self.members = [host for host in self.members if host not in hosts]
        path = self.lab.inventory / "hosts.yml"
        inventory = yaml.safe_load(path.read_text())
        for host in hosts:
            del inventory["all"]["hosts"][host]
            del inventory["all"]["children"]["mongodb"]["hosts"][host]
        path.write_text(json.dumps(inventory))

    # ------------------------------------------------------------------------------------------------------------- the collection

    def play(self, playbook: str | Path, *arguments: str) -> float:
        """Run a playbook to its end and return its seconds."""
        run = self.lab.run(playbook, *arguments)
        if run.returncode:
            raise DrillError(f"{playbook} ended with {run.returncode}:\n{run.output[-6000:]}")
        return run.seconds

    def play_and_kill(self, playbook: str | Path, delay: float, *arguments: str) -> bool:
        """Start a playbook and SIGKILL it with all its workers after `delay` seconds; False when it ended before."""
        process = subprocess.Popen(
            self.lab.command(playbook, *arguments),
            cwd=ROOT,
            env=self.lab.environment(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            kill_with_workers(process.pid)
            process.communicate()
            return True
        if process.returncode:
            raise DrillError(f"{playbook} ended with {process.returncode}:\n{output[-6000:]}")
        return False

    # ---------------------------------------------------------------------------------------------------------------- the servers

    @property
    def addresses(self) -> dict[str, str]:
        """Addresses of all members by host."""
        hosts = yaml.safe_load((self.lab.inventory / "hosts.yml").read_text())["all"]["hosts"]
        return {name: str(hosts[name]["ansible_host"]) for name in self.members}

    def name_of(self, host: str) -> str:
        """The name by which the set knows a host."""
        return f"{host}.linda.test"

    def secret(self, name: str) -> str:
        """A secret of the lab, out of its vault."""
        if name not in self._secrets:
            vault = self.lab.inventory / "group_vars" / "all" / "vault.yml"
            argv = [
                str(PLAYBOOK.with_name("ansible-vault")),
                "view",
                f"--vault-password-file={self.lab.state / 'vault_password'}",
                str(vault),
            ]
            text = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout
            self._secrets |= yaml.safe_load(text)
        return self._secrets[name]

    @contextlib.contextmanager
    def client(self, host: str, *, login: bool = True, **more: Any) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
        """A direct connection to one member, as administrator unless told otherwise."""
        user = {"username": "admin", "password": self.secret("mongodb_admin_password")} if login else {}
        tls = {"tls": True, "tlsCAFile": str(self.lab.state / "ca" / "ca.pem"), "tlsAllowInvalidCertificates": True} if self.tls else {}
        options = {"directConnection": True, "serverSelectionTimeoutMS": 2000, "connectTimeoutMS": 2000, **user, **tls, **more}
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(self.addresses[host], **options)
        try:
            yield client
        finally:
            client.close()

    @property
    def tls(self) -> bool:
        """Whether clients may use TLS as the set is described now."""
        return str(self.description["mongodb_tls_mode"]) != "disabled"

    def states(self) -> dict[str, str]:
        """What each member says of itself: primary, secondary, other or silent."""
        found = {}
        for host in self.members:
            try:
                with self.client(host, login=False) as client:
                    hello = client.admin.command("hello")
            except PyMongoError:
                found[host] = "silent"
                continue
            found[host] = "primary" if hello["isWritablePrimary"] else "secondary" if hello.get("secondary") else "other"
        return found

    def primary(self) -> str:
        """The host that is primary, waited for."""
        wait_for(lambda: "primary" in self.states().values(), HEAL_SECONDS, "a primary")
        return next(host for host, state in self.states().items() if state == "primary")

    def secondaries(self) -> list[str]:
        """The hosts that are not primary."""
        primary = self.primary()
        return [host for host in self.members if host != primary]

    def healthy(self) -> bool:
        """Whether there is one primary, all others are secondaries, and the primary sees all of them."""
        states = self.states()
        if sorted(states.values()) != ["primary", *["secondary"] * (len(self.members) - 1)]:
            return False
        primary = next(host for host, state in states.items() if state == "primary")
        try:
            with self.client(primary) as client:
                status = client.admin.command("replSetGetStatus")["members"]
        except PyMongoError:
            return False
        return len(status) == len(self.members) and all(one["health"] == 1 and one["state"] in (1, 2) for one in status)

    def wait_until_healthy(self, after: str) -> None:
        """Wait until every member is well again, and the client's writes too."""
        wait_for(self.healthy, HEAL_SECONDS, f"all members are well after {after}", lambda: str(self.states()))
        if self.writer is not None:
            now = time.time()
            wait_for(lambda: self.journal().acknowledged[-1][1] > now, 60, f"a write is acknowledged after {after}")

    def versions(self) -> set[str]:
        """The versions that run."""
        found = set()
        for host in self.members:
            with self.client(host) as client:
                found.add(str(client.admin.command("buildInfo")["version"]))
        return found

    def started(self) -> dict[str, str]:
        """When each member's service was started."""
        asked = ("systemctl", "show", "--property=ExecMainStartTimestamp", "mongod")
        return {host: self.lab.execute(host, *asked) for host in self.members}

    # ----------------------------------------------------------------------------------------------------------------- the client

    @property
    def journal_path(self) -> Path:
        """Where the client writes down what it was promised."""
        return self.lab.state / "journal"

    def journal(self) -> Journal:
        """What the client was promised so far."""
        return Journal.read(self.journal_path)

    def setting(self) -> dict[str, Any]:
        """What the client needs to know."""
        return {
            "hosts": {self.name_of(host): address for host, address in self.addresses.items()},
            "ca": str(self.lab.state / "ca" / "ca.pem"),
            "tls": self.tls,
            "user": "admin",
            "password": self.secret("mongodb_admin_password"),
            "set": SET,
            "first": max((number for number, _at in self.journal().acknowledged), default=0) + 1000 if self.journal_path.exists() else 1,
        }

    def start_writing(self) -> None:
        """Start the client, and wait for its first acknowledged writes."""
        setting = self.setting()
        self.writer = subprocess.Popen(
            [sys.executable, "-m", "tests.drills.mongodb.writer", str(self.journal_path)], cwd=ROOT, stdin=subprocess.PIPE, text=True
        )
        assert self.writer.stdin is not None
        self.writer.stdin.write(json.dumps(setting))
        self.writer.stdin.close()
        now = time.time()
        wait_for(
            lambda: self.journal_path.exists() and any(at > now for _number, at in self.journal().acknowledged[-1:]), 60, "the first writes"
        )

    def stop_writing(self) -> None:
        """End the client."""
        if self.writer is not None:
            self.writer.terminate()
            self.writer.wait()
            self.writer = None

    def lost(self) -> list[int]:
        """Numbers of writes that were acknowledged and are not there."""
        promised = self.journal().acknowledged
        with self.client(self.primary(), socketTimeoutMS=60000) as client:
            collection = client[DATABASE].get_collection(COLLECTION, read_concern=pymongo.read_concern.ReadConcern("majority"))
            there = {document["_id"] for document in collection.find({}, {"_id": 1})}
        return [number for number, _at in promised if number not in there]


def wait_for(condition: Callable[[], bool], seconds: float, what: str, found: Callable[[], str] = lambda: "") -> float:
    """Wait until a condition holds and return the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise DrillError(f"After {seconds:.0f} s still not: {what}. {found()}")
        time.sleep(0.2)
    return time.monotonic() - begun
