"""The client of the drills, a process of its own: writes all the time, and puts down in a journal what the cluster acknowledged.

    echo '{"hosts": {"mongo1.linda.test": "198.18.7.11", ...}, ...}' | python -m tests.drills.mongodb.writer JOURNAL

It sees the cluster as an application does: by the names that the set itself uses, with the driver's own retries, through elections.
One line for each write: ``ok NUMBER SENT ANSWERED`` or ``no NUMBER SENT ANSWERED ERROR``; times in seconds since 1970.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

DATABASE, COLLECTION = "drill", "journal"
PACE_SECONDS = 0.01


def resolve_by(hosts: dict[str, str]) -> None:
    """Let this process know the names of the lab, which no name server knows."""
    original = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        return original(hosts.get(host, host), *arguments, **options)

    socket.getaddrinfo = look_up


def client_of(setting: dict[str, Any], **more: Any) -> pymongo.MongoClient[dict[str, Any]]:
    """A client of the whole set, as an application has it."""
    resolve_by(setting["hosts"])
    tls = {"tls": True, "tlsCAFile": setting["ca"]} if setting["tls"] else {}
    seeds = [f"{name}:27017" for name in setting["hosts"]]
    options = {
        "username": setting["user"],
        "password": setting["password"],
        "authSource": "admin",
        "replicaSet": setting["set"],
        **tls,
        **more,
    }
    return pymongo.MongoClient(seeds, **options)


def write_forever(setting: dict[str, Any], journal: Path) -> None:
    """Insert one document after the other, for as long as the process lives."""
    client = client_of(setting, w="majority", serverSelectionTimeoutMS=60000, connectTimeoutMS=3000, socketTimeoutMS=20000)
    collection = client[DATABASE][COLLECTION]
    with journal.open("a", buffering=1) as lines:
        for number in range(int(setting["first"]), 10**9):
            sent = time.time()
            try:
                collection.insert_one({"_id": number})
            except PyMongoError as error:
                lines.write(f"no {number} {sent:.4f} {time.time():.4f} {type(error).__name__}\n")
            else:
                lines.write(f"ok {number} {sent:.4f} {time.time():.4f}\n")
            time.sleep(PACE_SECONDS)


@dataclass(frozen=True)
class Journal:
    """What the writer was promised."""

    acknowledged: tuple[tuple[int, float], ...]
    """(number of the write, when its answer came)"""
    refused: int

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read the whole journal; a line that is being written counts with the next reading."""
        acknowledged, refused = [], 0
        for line in path.read_text().splitlines(keepends=True):
            fields = line.split()
            if not line.endswith("\n") or len(fields) < 4:
                continue
            if fields[0] == "ok":
                acknowledged.append((int(fields[1]), float(fields[3])))
            else:
                refused += 1
        return cls(tuple(acknowledged), refused)

    def longest_gap(self, begin: float, end: float) -> float:
        """The longest time without an acknowledged write that touches the time from `begin` to `end`, in seconds."""
        times = [at for _number, at in self.acknowledged]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times) if later >= begin and earlier <= end]
        return max(gaps, default=end - begin)


if __name__ == "__main__":
    write_forever(json.load(sys.stdin), Path(sys.argv[1]))
