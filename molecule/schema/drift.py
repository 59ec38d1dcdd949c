"""Change what is in a cluster behind the role's back: drift.py CA_FILE ADDRESS...; the administrator's password on standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

from pymongo import MongoClient

CA_FILE, *ADDRESSES = sys.argv[1:]
WORD: str = json.load(sys.stdin)["admin"]


def main() -> None:
    """Validators, options and indexes, each in another way; and a document that a validator would object to."""
    for address in ADDRESSES:
        client: MongoClient[dict[str, Any]] = MongoClient(
            address, directConnection=True, tls=True, tlsCAFile=CA_FILE, username="admin", password=WORD
        )
        if not client.admin.command("hello")["isWritablePrimary"]:
            continue
        linda, scenario = client.linda, client.scenario
        linda.command("collMod", "users", validationAction="warn")
        linda.command("collMod", "sessions", validator={})
        scenario.command("collMod", "people", index={"name": "expiring", "expireAfterSeconds": 60})
        linda.command("collMod", "messages", index={"name": "messages_user", "hidden": True})
        linda.messages.drop_index("messages_outbox")
        linda.messages.create_index("text", name="stray")
        scenario.command("collMod", "log", cappedMax=10)
        scenario.command("collMod", "measurements", expireAfterSeconds=60)
        scenario.create_collection("stray")
        return
    raise SystemExit("no primary")


if __name__ == "__main__":
    main()
