"""What each member goes by, seen from outside: inforce.py CA_FILE ADDRESS...; the monitor's password on standard input, JSON on output."""

from __future__ import annotations

import hashlib
import json
import ssl
import sys
from typing import Any

from pymongo import MongoClient

CA_FILE, *ADDRESSES = sys.argv[1:]
WORD: str = json.load(sys.stdin)["admin"]


def seen(address: str) -> dict[str, Any]:
    """Values in force, the certificate that is shown, and how long the process has been running (seconds)."""
    with MongoClient[dict[str, Any]](
        address, 27017, directConnection=True, tls=True, tlsCAFile=CA_FILE, username="admin", password=WORD
    ) as client:
        status = client.admin.command("serverStatus")
        return {
            "primary": client.admin.command("hello")["isWritablePrimary"],
            "slow_ms": client.admin.command("profile", -1)["slowms"],
            "profile": client.linda.command("profile", -1)["was"],
            "connections": status["connections"]["current"] + status["connections"]["available"],
            "cache_mb": status["wiredTiger"]["cache"]["maximum bytes configured"] // 1024**2,
            "retention": status["oplogTruncation"].get("oplogMinRetentionHours", 0),
            "certificate": hashlib.sha256(ssl.get_server_certificate((address, 27017)).encode()).hexdigest(),
            "pid": int(status["pid"]),
            "uptime": status["uptimeMillis"] / 1000,
        }


print(json.dumps([seen(address) for address in ADDRESSES]))
