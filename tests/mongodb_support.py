"""Real mongods on loopback, and real runs of the modules against them."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymongo
from ansible.module_utils.testing import patch_module_args
from checks_support import Authority, free_port
from pymongo.errors import AutoReconnect, PyMongoError

ROOT = Path(__file__).resolve().parent.parent
APP_NAME = "linda.ops"
ADMIN_WORD = "Admin-word:with/odd@chars%"
# What the modules may send without changing anything.
READING = frozenset(
    {
        "hello",
        "ismaster",
        "ping",
        "usersInfo",
        "rolesInfo",
        "connectionStatus",
        "whatsmyuri",
        "replSetGetStatus",
        "replSetGetConfig",
        "saslStart",
        "saslContinue",
        "endSessions",
    }
)


@dataclass
class Mongod:
    """One server process and its files."""

    binary: Path
    directory: Path
    key_file: Path
    authority: Authority
    certificate: Path
    set_name: str = "rs0"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "mongod.log"

    def start(self) -> None:
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {
            "net": {
                "port": self.port,
                "bindIp": "127.0.0.1",
                "unixDomainSocket": {"enabled": False},
                "tls": {
                    "mode": "requireTLS",
                    "certificateKeyFile": str(self.certificate),
                    "CAFile": str(self.authority.file),
                    "allowConnectionsWithoutCertificates": True,
                },
            },
            "replication": {"replSetName": self.set_name, "oplogSizeMB": 50},
            "security": {"keyFile": str(self.key_file), "authorization": "enabled"},
            "storage": {"dbPath": str(data), "wiredTiger": {"engineConfig": {"cacheSizeGB": 0.25}}},
            "systemLog": {"destination": "file", "path": str(self.log), "logAppend": True, "component": {"command": {"verbosity": 1}}},
            "setParameter": {"initialSyncSourceReadPreference": "primaryPreferred", **self.parameters},
        }
        if not self.set_name:
            del options["replication"]
            options["setParameter"] = self.parameters
        config = self.directory / "mongod.conf"
        config.write_text(json.dumps(options))  # JSON is YAML
        self.process = subprocess.Popen([str(self.binary), "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(PyMongoError), self.client() as client:
                client.admin.command("hello")
                return
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def client(self, user: str | None = None, word: str = ADMIN_WORD) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
        """A client of the test's own, under another application name than the modules'."""
        options: dict[str, Any] = {"username": user, "password": word} if user else {}
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            "127.0.0.1",
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=2000,
            tls=True,
            tlsCAFile=str(self.authority.file),
            **options,
        )
        try:
            yield client
        finally:
            client.close()

    def ask(self, command: str, user: str | None = None) -> dict[str, Any]:
        """Send a reading command, and again for a while: a server closes connections when its state changes."""
        deadline = time.monotonic() + 10
        while True:
            try:
                with self.client(user) as client:
                    return dict(client.admin.command(command))
            except AutoReconnect:
                if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def hello(self) -> dict[str, Any]:
        return self.ask("hello")

    def commands_of_modules(self, since: int = 0) -> list[str]:
        """Names of the commands that came from our modules, as the server itself logged them after byte `since`."""
        names = []
        # The last line may still be on its way.
        for line in self.log.read_bytes()[since:].rpartition(b"\n")[0].splitlines():
            entry = json.loads(line)
            attributes = entry.get("attr", {})
            if attributes.get("appName") == APP_NAME and isinstance(attributes.get("command"), dict):
                names.append(next(iter(attributes["command"])))
        return names


@dataclass
class Bench:
    """Everything a test needs: a key file, an authority, and servers that end with the test."""

    binary: Path
    directory: Path
    servers: list[Mongod] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key_file = self.directory / "keyfile"
        self.key_file.write_text("YSBrZXkgZmlsZSBmb3IgdGVzdHMgb25seQ==")
        self.key_file.chmod(0o400)
        self.authority = Authority(self.directory / "ca")
        self.certificate = self.authority.leaf("mongo.linda.test").both

    def start(self, count: int, set_name: str = "rs0", **parameters: Any) -> list[Mongod]:
        new = []
        for _number in range(count):
            home = self.directory / f"m{len(self.servers)}"
            home.mkdir()
            server = Mongod(self.binary, home, self.key_file, self.authority, self.certificate, set_name, parameters=parameters)
            self.servers.append(server)
            new.append(server)
            server.start()
        for server in new:
            server.wait()
        return new

    def stop(self) -> None:
        for server in self.servers:
            server.kill()

    def login(self, server: Mongod, **more: Any) -> dict[str, Any]:
        """Connection options of a module run."""
        return {
            "login_host": "localhost",
            "login_port": server.port,
            "login_user": "admin",
            "login_password": ADMIN_WORD,
            "ssl": True,
            "ssl_ca_certs": str(self.authority.file),
            "timeout": 20,
            **more,
        }

    def primary(self) -> Mongod:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for server in self.servers:
                if server.process is not None and server.hello().get("isWritablePrimary"):
                    return server
            time.sleep(0.1)
        raise AssertionError("no primary")


def begin(module: str, arguments: dict[str, Any], *, check: bool = False, driver: Path | None = None) -> subprocess.Popen[str]:
    """Start a module as its own process, arguments on standard input, as a managed host runs it. A name with dots is another's module."""
    wanted = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}}
    path = [str(driver)] if driver else []
    process = subprocess.Popen(
        [sys.executable, "-m", module if "." in module else f"ansible_collections.linda.ops.plugins.modules.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT / ".collections")])},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(wanted))
    process.stdin.close()
    process.stdin = None
    return process


def run(module: str, arguments: dict[str, Any], *, check: bool = False, driver: Path | None = None) -> dict[str, Any]:
    """Run a module to its end and return its result; no secret may stand in what it says."""
    process = begin(module, arguments, check=check, driver=driver)
    out, err = process.communicate(timeout=90)
    for secret in secrets_of(arguments):
        assert secret not in (out + err).replace("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", ""), "a password is shown"
    try:
        result: dict[str, Any] = json.loads(out)
    except ValueError:
        raise AssertionError(f"no result: {out}\n{err}") from None
    return result


def inside(module: str, arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Run a module in this process, which saves the start of another one; where it is killed, or its driver is another, it has its own."""
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
    code = importlib.import_module(f"ansible_collections.linda.ops.plugins.modules.{module}")
    said = io.StringIO()
    with patch_module_args(given), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        code.main()
    for secret in secrets_of(arguments):
        assert secret not in said.getvalue().replace("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", ""), "a password is shown"
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


def secrets_of(arguments: dict[str, Any]) -> list[str]:
    return [arguments.get("login_password", ADMIN_WORD), *(user["password"] for user in arguments.get("users", []) if user.get("password"))]
