"""Write to a set as an application does, while it is changed: write.py CA_FILE GO_ON ADDRESS...; user and password come on standard input.

Writes one numbered document after the other with w:majority until GO_ON is gone, then compares what was acknowledged with what the
set has, and prints both and the longest gap in seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient, WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

CA_FILE, GO_ON, *ADDRESSES = sys.argv[1:]
LOGIN: dict[str, str] = json.load(sys.stdin)
PATIENCE = 60.0


def client(address: str) -> MongoClient[dict[str, Any]]:
    """A direct connection to one member: the set's own names do not resolve here."""
    options: dict[str, Any] = {**LOGIN, "directConnection": True, "serverSelectionTimeoutMS": 1000, "socketTimeoutMS": 5000}
    return MongoClient(address, 27017, tls=True, tlsCAFile=CA_FILE, retryWrites=False, **options)


def write(members: list[MongoClient[dict[str, Any]]], number: int) -> None:
    """Write one document to whoever is primary, until it is acknowledged. A set that takes none for a minute ends it all."""
    deadline, problem = time.monotonic() + PATIENCE, ""
    while time.monotonic() < deadline:
        for member in members:
            try:
                written = member.linda.get_collection("journal", write_concern=WriteConcern("majority", wtimeout=5000))
                written.insert_one({"_id": number})
                return
            except DuplicateKeyError:
                # It was written before, and the answer lost: it counts when the majority has it, which the next write shows.
                return
            except PyMongoError as error:
                problem = str(error)
        time.sleep(0.02)
    raise SystemExit(f"document {number} is not written after {PATIENCE:.0f} s: {problem}")


def main() -> None:
    """Write, compare, report."""
    members = [client(address) for address in ADDRESSES]
    acknowledged, longest, last = 0, 0.0, time.monotonic()
    while Path(GO_ON).exists():
        write(members, acknowledged)
        now = time.monotonic()
        acknowledged, longest, last = acknowledged + 1, max(longest, now - last), now
        time.sleep(0.02)
    found = max(member.linda.journal.count_documents({}) for member in members)
    print(json.dumps({"acknowledged": acknowledged, "found": found, "longest_gap": round(longest, 2)}))
    if found < acknowledged:
        raise SystemExit(f"{acknowledged - found} acknowledged writes are lost")


if __name__ == "__main__":
    main()
