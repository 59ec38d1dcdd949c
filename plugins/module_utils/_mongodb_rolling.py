# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the rolling engine reads of a replica set: each member as the primary sees it, and as it answers itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import POLL_SECONDS, Cluster, Link
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import canonical_host
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling_plan import Member, Observed

# What an election or a restart in progress says; the next look may find another answer.
PASSING = frozenset({"no_primary", "not_primary", "not_running", "not_ready", "connection_lost", "unknown_host"})
# Whether the name of an operation or its thread tells that indexes are being built.
_BUILDING = {
    "$or": [
        {"command.createIndexes": {"$exists": True}},
        {"desc": {"$regex": "^IndexBuildsCoordinator"}},
        {"msg": {"$regex": "^Index Build"}},
    ]
}
# Parts of serverStatus that are long and of no use here.
_LEFT_OUT: dict[str, Any] = dict.fromkeys(("metrics", "wiredTiger", "locks", "repl", "tcmalloc", "transactions", "opLatencies"), 0)


def observe(cluster: Cluster, replica_set: str, *, due: Iterable[str] = (), changed: Mapping[str, float] | None = None) -> Observed:
    """Read the whole set. ``due`` and ``changed`` (seconds since 1970) are what the caller knows of members' files, by canonical host.

    :raises MongodbError: the connection's codes, ``wrong_set`` or ``no_users``.
    """
    if cluster.state != "ready":
        raise MongodbError(
            "no_users", f"{cluster.entry.host} is in the state {cluster.state}; only a set with users is rolled. Run site.yml first."
        )
    if cluster.hello.get("setName") != replica_set:
        raise MongodbError("wrong_set", f"{cluster.entry.host} is in the set {cluster.hello.get('setName')}, not in {replica_set}.")
    primary = cluster.primary()
    status = primary.command("replSetGetStatus")["members"]
    config = {canonical_host(one["host"]): one for one in primary.command("replSetGetConfig")["config"]["members"]}
    parameter = primary.command("getParameter", featureCompatibilityVersion=1)["featureCompatibilityVersion"]
    newest = max(one["optimeDate"] for one in status if one.get("optimeDate"))
    due_hosts = frozenset(due)
    members = []
    for one in status:
        host = canonical_host(one["name"])
        document = config.get(host, {})
        behind = (newest - one["optimeDate"]).total_seconds() if one.get("optimeDate") else 0.0
        values: dict[str, Any] = {
            "state": one["stateStr"],
            "voter": bool(document.get("votes", 1)),
            "priority": float(document.get("priority", 1)),
            "lag": max(0.0, behind - float(document.get("secondaryDelaySecs", document.get("slaveDelay", 0)))),
            "changed": (changed or {}).get(host),
            "due": host in due_hosts,
        }
        if one["stateStr"] in ("PRIMARY", "SECONDARY"):
            values |= _details(cluster, host)
        members.append(Member(host=host, **values))
    return Observed(tuple(members), str(parameter.get("version", "")) or None)


def _details(cluster: Cluster, host: str) -> dict[str, Any]:
    """Ask one member itself. One that does not answer us is not up, whatever the others still believe."""
    address = cluster.address_of(host)
    if address is None:
        return {"state": "(not reached from here)"}
    link = Link(cluster.options, address, login=True)
    try:
        server = link.command("serverStatus", **_LEFT_OUT)
        parameters = link.command("getParameter", tlsMode=1, clusterAuthMode=1)
        builds = link.command("aggregate", pipeline=[{"$currentOp": {"allUsers": True}}, {"$match": _BUILDING}], cursor={})
        return {
            "version": str(server["version"]),
            "started": server["localTime"].timestamp() - float(server["uptimeMillis"]) / 1000,
            "security": (str(parameters["tlsMode"]), str(parameters["clusterAuthMode"])),
            "building": tuple(sorted({str(one.get("ns", "?")) for one in builds["cursor"]["firstBatch"]})),
            "oplog_hours": _oplog_hours(link),
            "source": source_of(link),
        }
    except MongodbError as error:
        if error.code not in PASSING | {"tls_failed"}:
            raise
        return {"state": f"({error.code})"}
    finally:
        link.close()


def source_of(link: Link) -> str:
    """Return the canonical host of the member that a server copies from, empty while it has none."""
    source = str(link.command("replSetGetStatus").get("syncSourceHost", ""))
    return canonical_host(source) if source else ""


def sync_from(cluster: Cluster, host: str, source: str, seconds: float) -> bool:
    """Let a member copy from another one; return whether it does within the time.

    The server acts on a request with its next batch, and drops it when the source is not ahead at that moment; then it looks for any
    source after a second. A request that comes in that second counts at its end. A note in the oplog makes the batch, and puts the source
    ahead of a member that has stood still for that second.
    """
    address = cluster.address_of(host)
    if address is None:
        return False
    link, primary = Link(cluster.options, address, login=True), cluster.primary()
    deadline = time.monotonic() + seconds
    try:
        asked_without = False
        while time.monotonic() < deadline:
            now = source_of(link)
            if now == source and _stays(link, source):
                return True
            if now or not asked_without:
                link.command("replSetSyncFrom", source)
                primary.command("appendOplogNote", data={"msg": f"{host} is to copy from {source}"})
                asked_without = not now
            time.sleep(POLL_SECONDS)  # no command waits for another source
    finally:
        link.close()
    return False


def _stays(link: Link, source: str) -> bool:
    """Tell whether a source outlasts the first answers, after which a member may leave it again."""
    for _look in range(3):
        time.sleep(POLL_SECONDS)  # that nothing happens is no event
        if source_of(link) != source:
            return False
    return True


def _oplog_hours(link: Link) -> float | None:
    """Return how far the oplog reaches back, None as long as nothing was cut off from it for want of room.

    A mongod cuts its oplog only when it has grown past its maximum; before that, a short one is merely young.
    """
    sizes = link.command("collStats", "oplog.rs", database="local")
    if float(sizes["size"]) < 0.9 * float(sizes["maxSize"]):
        return None
    ends = [
        link.command("find", "oplog.rs", database="local", sort={"$natural": way}, limit=1, projection={"ts": 1})["cursor"]["firstBatch"]
        for way in (1, -1)
    ]
    if not all(ends):
        return None
    first, last = (batch[0]["ts"].time for batch in ends)
    return float(last - first) / 3600
