"""Have a known document on the disk of every member: mark.py CA_FILE WORD ADDRESS...; passwords come on standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

from pymongo import MongoClient, WriteConcern

CA_FILE, WORD, *ADDRESSES = sys.argv[1:]
SECRETS: dict[str, str] = json.load(sys.stdin)


def main() -> None:
    """Write it to all members, and let each write a checkpoint."""
    members: list[MongoClient[dict[str, Any]]] = [
        MongoClient(address, 27017, directConnection=True, tls=True, tlsCAFile=CA_FILE, username="admin", password=SECRETS["admin"])
        for address in ADDRESSES
    ]
    primary = next(member for member in members if member.admin.command("hello")["isWritablePrimary"])
    marked = primary.linda.get_collection("marked", write_concern=WriteConcern(len(members), j=True, wtimeout=20000))
    marked.replace_one({"_id": WORD[:12]}, {"secret": WORD}, upsert=True)
    for member in members:
        member.admin.command("fsync")


if __name__ == "__main__":
    main()
