"""Change a set and its users behind the role's back: drift.py CA_FILE ADDRESS...; the administrator's password on standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

from pymongo import MongoClient

CA_FILE, *ADDRESSES = sys.argv[1:]
WORD: str = json.load(sys.stdin)["admin"]


def main() -> None:
    """One property of a member, one setting of a user, one password."""
    for address in ADDRESSES:
        client: MongoClient[dict[str, Any]] = MongoClient(
            address, 27017, directConnection=True, tls=True, tlsCAFile=CA_FILE, username="admin", password=WORD
        )
        if not client.admin.command("hello")["isWritablePrimary"]:
            continue
        config = client.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        config["members"][2]["tags"] = {"behind": "our back"}
        client.admin.command("replSetReconfig", config)
        client.admin.command("updateUser", "reader", roles=[])
        client.admin.command("updateUser", "application", pwd=WORD)
        return
    raise SystemExit("no primary")


if __name__ == "__main__":
    main()
