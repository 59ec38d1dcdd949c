"""Runs the application as it runs in production: a process of its own on loopback, and a real mongod beside it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pymongo
import pytest
from pymongo.errors import PyMongoError

from lab.app.tests.running import CACHE, Server, Start, environment, free_port
from lab.mirror import MirrorError, mongod_binary


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start an application with the given settings and wait until it answers; without a MongoDB unless MONGODB_URI is given."""
    servers: list[Server] = []

    async def begin(**settings: str) -> Server:
        port = free_port()
        nowhere = f"mongodb://127.0.0.1:{free_port()}/"
        log = tmp_path / f"log-{len(servers)}"
        with log.open("wb") as stream:
            chosen = environment(**{"MONGODB_URI": nowhere, "TIMEOUT": "1", "READY_TIMEOUT": "0.5", "PORT": str(port), **settings})
            process = subprocess.Popen([sys.executable, "-m", "linda_lab_api"], env=chosen, stdout=stream, stderr=subprocess.STDOUT)
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        servers.append(Server(process, port, log, client))
        deadline = time.monotonic() + 20
        while True:
            try:
                await client.get("/healthz")
                return servers[-1]
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                await asyncio.sleep(0.05)

    yield begin
    for server in servers:
        await server.http.aclose()
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a replica set of one member, run from the mirror's mongod."""
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    data = tmp_path_factory.mktemp("mongod")
    port = free_port()
    argv = [str(binary), "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "rs"]
    with (data / "log").open("wb") as log:
        process = subprocess.Popen([*argv, "--wiredTigerCacheSizeGB", "0.25"], stdout=log, stderr=subprocess.STDOUT)
    try:
        client: pymongo.MongoClient[dict[str, Any]]
        with pymongo.MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=20_000) as client:
            member = {"_id": 0, "host": f"127.0.0.1:{port}"}
            client.admin.command("replSetInitiate", {"_id": "rs", "members": [member]})
            deadline = time.monotonic() + 30
            while not client.admin.command("hello")["isWritablePrimary"]:
                assert time.monotonic() < deadline, "the replica set got no primary"
                time.sleep(0.05)
        yield f"mongodb://127.0.0.1:{port}/?replicaSet=rs"
    except PyMongoError as error:
        raise AssertionError((data / "log").read_text()[-4000:]) from error
    finally:
        process.kill()
        process.wait()
