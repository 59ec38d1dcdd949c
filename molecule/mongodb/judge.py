"""Judge a replica set from outside, as its clients and an intruder see it: judge.py CA_FILE ADDRESS... ; secrets come on standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

CA_FILE, *ADDRESSES = sys.argv[1:]
SECRETS: dict[str, str] = json.load(sys.stdin)


def client(address: str, user: str = "", word: str = "", **more: Any) -> MongoClient[dict[str, Any]]:
    """A direct connection to one member."""
    login = {"username": user, "password": word} if user else {}
    options = {"directConnection": True, "serverSelectionTimeoutMS": 3000, "tls": True, "tlsCAFile": CA_FILE, **login, **more}
    return MongoClient(address, 27017, **options)


def refused(what: str, act: Callable[[], object], *codes: int) -> None:
    """What must not be possible: it fails, and by the server's own refusal where codes are given."""
    try:
        act()
    except OperationFailure as error:
        if codes and error.code not in codes:
            raise SystemExit(f"{what}: refused with {error.code}, not one of {codes}") from error
    except (PyMongoError, OSError):
        if codes:
            raise
    else:
        raise SystemExit(f"{what} is possible")


def judge_intruder(address: str) -> None:
    """What nobody may do on any member."""
    refused(f"{address}: to talk without TLS", lambda: client(address, tls=False, tlsCAFile=None).admin.command("hello"))
    refused(f"{address}: to read without login", lambda: client(address).admin.command("listDatabases"), 13)
    refused(f"{address}: a wrong password", lambda: client(address, "admin", SECRETS["reader"]).admin.command("ping"), 18)


def main() -> None:
    """Go through everything once; the first thing that is wrong ends it."""
    primary = next(address for address in ADDRESSES if client(address).admin.command("hello")["isWritablePrimary"])
    for address in ADDRESSES:
        judge_intruder(address)
    application = client(primary, "application", SECRETS["application"])
    application.linda.get_collection("judged").insert_one({"judged": True})
    refused("the application in another database", lambda: application.other.judged.insert_one({}), 13)
    refused("the application as administrator", lambda: application.admin.command("usersInfo", 1), 13)
    reader = client(primary, "reader", SECRETS["reader"])
    if reader.linda.judged.find_one({"judged": True}) is None:
        raise SystemExit("the reader does not see what the application wrote")
    refused("the reader to write", lambda: reader.linda.judged.insert_one({}), 13)
    monitor = client(primary, "monitor", SECRETS["monitor"])
    refused("the monitor to read the application's data", monitor.linda.judged.find_one, 13)

    configuration = client(primary, "admin", SECRETS["admin"]).admin.command("replSetGetConfig")["config"]
    priorities = {member["host"].split(".")[0]: member["priority"] for member in configuration["members"]}
    if (configuration["_id"], priorities) != ("scenario", {"mongo1": 2, "mongo2": 1, "mongo3": 1}):
        raise SystemExit(f"the set is another one: {configuration}")


if __name__ == "__main__":
    main()
