"""Judge from outside what is in a cluster: judge.py CA_FILE ADDRESS... ; the password and the description come on standard input."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError, WriteError

CA_FILE, *ADDRESSES = sys.argv[1:]
GIVEN: dict[str, Any] = json.load(sys.stdin)
NOW = datetime.datetime.now(datetime.UTC)


def client(address: str) -> MongoClient[dict[str, Any]]:
    """A direct connection to one member."""
    return MongoClient(
        address,
        directConnection=True,
        serverSelectionTimeoutMS=3000,
        tls=True,
        tlsCAFile=CA_FILE,
        username="admin",
        password=GIVEN["admin"],
    )


def refused(what: str, act: Callable[[], object], error: type[PyMongoError]) -> None:
    """What must not be possible."""
    try:
        act()
    except error:
        return
    raise SystemExit(f"{what} is possible")


def primary() -> MongoClient[dict[str, Any]]:
    """A connection to the member that takes writes."""
    for address in ADDRESSES:
        found = client(address)
        if found.admin.command("hello")["isWritablePrimary"]:
            return found
    raise SystemExit("no primary")


def main() -> None:
    """Compare names with the description, then try what collections and indexes promise."""
    server = primary()
    for database in GIVEN["databases"]:
        for collection in database["collections"]:
            names = set(server[database["name"]][collection["name"]].index_information())
            missing = {index["name"] for index in collection.get("indexes", [])} - names
            if missing:
                raise SystemExit(f"{database['name']}.{collection['name']} has {sorted(names)}, not {sorted(missing)}")
    linda, scenario = server.linda, server.scenario
    user = {"user_id": "u1", "phone": "+491511234567", "status": "active", "created_at": NOW, "last_seen_at": NOW}
    linda.users.delete_many({})
    linda.users.insert_one(dict(user))
    refused("a second user of the same number", lambda: linda.users.insert_one({**user, "user_id": "u2"}), DuplicateKeyError)
    refused("a user without a phone", lambda: linda.users.insert_one({"user_id": "u3"}), WriteError)
    session = {"session_id": "s", "user_id": "u1", "updated_at": NOW, "expires_at": "tomorrow"}
    refused("a session that never ends", lambda: linda.sessions.insert_one(session), WriteError)
    expiry = {index["name"]: index.get("expireAfterSeconds") for index in scenario.people.list_indexes()}["expiring"]
    hidden = [index["name"] for index in linda.messages.list_indexes() if index.get("hidden")]
    if (expiry, hidden) != (86400, []):
        raise SystemExit(f"people expire after {expiry} s, hidden are {hidden}")
    for number in range(1100):
        scenario.log.insert_one({"number": number})
    options = scenario.measurements.options()
    if (scenario.log.count_documents({}), options["expireAfterSeconds"]) != (1000, 86400):
        raise SystemExit(f"the log holds {scenario.log.count_documents({})} documents, measurements are {options}")
    scenario.people.delete_many({})
    scenario.people.insert_one({"name": "Jürgen"})
    if scenario.people.count_documents({"name": "jürgen"}) != 1:
        raise SystemExit("the collation does not compare as it should")


if __name__ == "__main__":
    main()
