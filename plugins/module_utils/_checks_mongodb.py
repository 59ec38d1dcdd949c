# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probes `mongodb`, `mongodb_pool` and `mongodb_indexes`. They need pymongo where they run; everything else is standard library.

What the replica set says about itself is judged by pure functions (`judge`); the client only asks and writes.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import re
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.linda.ops.plugins.module_utils._checks_net import CheckFailed, Deadline, Outcome
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import (
    MongodbCheck,
    MongodbIndexesCheck,
    MongodbPoolCheck,
    MongodbServerCheck,
)

if TYPE_CHECKING:
    from pymongo import MongoClient

_SCRATCH = "linda_check_"
_STALE = 3600
# The server truncates in pieces of about a hundredth of the size, so that a full oplog is never quite at its size.
_FULL = 0.9
_GOOD_STATES = ("PRIMARY", "SECONDARY", "ARBITER")
_AUTHENTICATION_FAILED, _UNAUTHORIZED, _NO_REPLICATION, _NOT_INITIATED = 18, 13, 76, 94
_NO_SUCH_COLLECTION = 26


def probe_mongodb(check: MongodbCheck, deadline: Deadline, secrets: Mapping[str, str]) -> Outcome:
    """Ask one member about its set, judge the answer, and write with majority if that is wanted."""
    asked = f"{check.address}:{check.port}"
    with _refusals_explained(asked), _authority(check) as ca_file:
        with _client(check, asked, ca_file, deadline, secrets) as client:
            status = client.admin.command("replSetGetStatus")
            window = _oplog(client) if check.oplog_window_hours > 0 else None
        seen = judge(check, status)
        if window is not None:
            seen += f"; {judge_oplog(check.oplog_window_hours, window)}"
        if check.write_database is not None:
            primary = primary_address(check, status, asked)
            with _client(check, primary, ca_file, deadline, secrets) as client:
                seen += f"; {_write(client, check.write_database, deadline)}"
    return Outcome(seen)


def probe_mongodb_pool(check: MongodbPoolCheck, deadline: Deadline, secrets: Mapping[str, str]) -> Outcome:
    """Ask a server which connections it has, and judge those of the application.

    A driver's monitoring connections do not log in, so what is logged in as the application's user is its pool.
    """
    asked = f"{check.address}:{check.port}"
    pipeline: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleConnections": True}},
        {"$match": {"effectiveUsers.user": check.user, "client": {"$type": "string"}}},
        {"$project": {"client": 1}},
    ]
    with _refusals_explained(asked), _authority(check) as ca_file, _client(check, asked, ca_file, deadline, secrets) as client:
        return Outcome(judge_pools(check, [str(one["client"]) for one in client.admin.aggregate(pipeline)]))


def probe_mongodb_indexes(check: MongodbIndexesCheck, deadline: Deadline, secrets: Mapping[str, str]) -> Outcome:
    """Ask a member which indexes it has; `$indexStats` answers for this member, and a user with `clusterMonitor` may ask it."""
    asked = f"{check.address}:{check.port}"
    found: dict[str, list[Mapping[str, Any]]] = {}
    with _refusals_explained(asked), _authority(check) as ca_file, _client(check, asked, ca_file, deadline, secrets) as client:
        for namespace in dict.fromkeys(index.collection for index in check.indexes):
            database, _dot, collection = namespace.partition(".")
            found[namespace] = _index_stats(client, database, collection)
    return Outcome(judge_indexes(check, found))


def _index_stats(client: MongoClient[dict[str, Any]], database: str, collection: str) -> list[Mapping[str, Any]]:
    """What a member says about the indexes of a collection; nothing about one that does not exist."""
    from pymongo.errors import OperationFailure

    try:
        return list(client[database][collection].aggregate([{"$indexStats": {}}]))
    except OperationFailure as problem:
        if problem.code != _NO_SUCH_COLLECTION:
            raise
        return []


def judge_indexes(check: MongodbIndexesCheck, found: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """Compare the answers of `$indexStats` by collection with what is expected; raises CheckFailed with every index that is not there.

    An index under another name with the same keys is there: whoever made it first named it.
    """
    problems: list[str] = []
    for index in check.indexes:
        same = [one for one in found[index.collection] if one["name"] == index.name or tuple(one["key"].items()) == index.keys]
        if not same:
            problems.append(f"{index.collection} has no index {index.name}")
        elif all(one.get("building") for one in same):
            problems.append(f"{index.collection}: {index.name} is still being built")
    if problems:
        raise CheckFailed("; ".join(problems))
    return f"{len(check.indexes)} indexes on {len(found)} collections"


def judge_pools(check: MongodbPoolCheck, connections: Iterable[str]) -> str:
    """Compare connections, each given as address:port of the client, with what is expected; returns evidence, raises CheckFailed."""
    counts = Counter(str(ipaddress.ip_address(one.rpartition(":")[0].strip("[]"))) for one in connections)
    low, high = check.processes * check.min_size, check.processes * check.max_size
    seen = ", ".join(f"{client} {counts[client]}" for client in sorted({*check.clients, *counts}))
    problems = [
        f"{client} has {counts[client]} connections as {check.user}, {'fewer' if counts[client] < low else 'more'} than {low} to {high}"
        for client in check.clients
        if not low <= counts[client] <= high
    ]
    if problems:
        raise CheckFailed("; ".join(problems), seen)
    return f"connections as {check.user}: {seen}; {low} to {high} wanted"


@contextlib.contextmanager
def _refusals_explained(asked: str) -> Iterator[None]:
    """Turn what the driver and the server say into the reason of a failed check."""
    try:
        from pymongo.errors import OperationFailure, PyMongoError
    except ImportError as problem:
        raise CheckFailed("pymongo is not installed where the check runs (Debian: python3-pymongo)") from problem
    try:
        yield
    except OperationFailure as problem:
        raise CheckFailed(_refusal(problem.code, str(problem.details.get("errmsg", "") if problem.details else problem))) from problem
    except PyMongoError as problem:
        raise CheckFailed(f"{asked} cannot be asked: {_plain(problem)}") from problem


def _plain(problem: Exception) -> str:
    """The driver's message without its own bookkeeping."""
    text = re.sub(r" ?\(configured timeouts:[^)]*\)|, Timeout:.*", "", str(problem), flags=re.DOTALL).strip()
    return text or type(problem).__name__


def _refusal(code: int | None, message: str) -> str:
    return {
        _AUTHENTICATION_FAILED: "the login is refused",
        _UNAUTHORIZED: f"the user may not do this: {message}",
        _NO_REPLICATION: "the server runs without a replica set",
        _NOT_INITIATED: "the replica set is not initiated",
    }.get(code or 0, f"the server refuses: {message} (code {code})")


@contextlib.contextmanager
def _authority(check: MongodbServerCheck) -> Iterator[str | None]:
    """The file with the certificate authority; pymongo takes no text."""
    if check.ca_pem is None:
        if check.ca_file is not None and not os.path.exists(check.ca_file):
            raise CheckFailed(f"ca_file {check.ca_file} does not exist where the check runs")
        yield check.ca_file
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(check.ca_pem)
        file.flush()
        yield file.name


def _client(
    check: MongodbServerCheck, address: str, ca_file: str | None, deadline: Deadline, secrets: Mapping[str, str]
) -> MongoClient[dict[str, Any]]:
    from pymongo import MongoClient

    milliseconds = max(1, int(deadline.remaining() * 1000))
    options: dict[str, Any] = {
        "directConnection": True,
        "serverSelectionTimeoutMS": milliseconds,
        "connectTimeoutMS": milliseconds,
        "socketTimeoutMS": milliseconds,
        "appName": "linda.ops run_checks",
        "tls": check.tls,
        "retryReads": False,
        "retryWrites": False,
    }
    if check.tls and ca_file is not None:
        options["tlsCAFile"] = ca_file
    if check.username is not None and check.password_variable is not None:
        options |= {"username": check.username, "password": secrets[check.password_variable], "authSource": check.auth_source}
    client: MongoClient[dict[str, Any]] = MongoClient(address, **options)
    deadline.on_expiry(client.close)
    return client


def judge(check: MongodbCheck, status: Mapping[str, Any]) -> str:
    """Compare the answer of replSetGetStatus with what is expected; returns evidence, raises CheckFailed with every difference."""
    problems: list[str] = []
    members: list[Mapping[str, Any]] = list(status.get("members", []))
    if check.replica_set is not None and status.get("set") != check.replica_set:
        problems.append(f"the replica set is {status.get('set')}, expected {check.replica_set}")
    names = {str(member["name"]) for member in members}
    if check.members:
        wanted = {member.host for member in check.members}
        problems += [f"{name} is not a member" for name in sorted(wanted - names)]
        problems += [f"{name} is a member, which is not expected" for name in sorted(names - wanted)]
    primaries = [member for member in members if member["stateStr"] == "PRIMARY"]
    if len(primaries) != 1:
        problems.append("there is no primary" if not primaries else f"there are {len(primaries)} primaries")
    lag = 0.0
    for member in members:
        if member.get("health") != 1 or member["stateStr"] not in _GOOD_STATES:
            problems.append(f"{member['name']} is {member['stateStr']}")
        elif member["stateStr"] == "SECONDARY" and len(primaries) == 1:
            behind = _seconds(primaries[0]["optimeDate"], member["optimeDate"])
            lag = max(lag, behind)
            if behind > check.max_lag:
                problems.append(f"{member['name']} is {behind:.0f} s behind the primary, more than {check.max_lag:g}")
    seen = f"{status.get('set')}: " + ", ".join(f"{member['name']} {member['stateStr']}" for member in members)
    if problems:
        raise CheckFailed("; ".join(problems), seen)
    return f"{seen}; lag {lag:.0f} s"


def _seconds(later: datetime.datetime, earlier: datetime.datetime) -> float:
    return max(0.0, (later - earlier).total_seconds())


@dataclass(frozen=True)
class OplogWindow:
    """What the member's oplog reaches back: hours between its first and its last entry, and how much of its size is in use (0..1)."""

    hours: float
    used: float


def _oplog(client: MongoClient[dict[str, Any]]) -> OplogWindow:
    """Measure the oplog of the member that is asked; needs no more than clusterMonitor."""
    times = client.admin.command("serverStatus", oplog=1, repl=0, metrics=0, locks=0)["oplog"]
    sizes = client.local.command("collStats", "oplog.rs")
    hours = (times["latestOptime"].time - times["earliestOptime"].time) / 3600
    return OplogWindow(hours, sizes["size"] / sizes["maxSize"])


def judge_oplog(minimum: float, window: OplogWindow) -> str:
    """Compare the oplog's window with what is asked; returns evidence, raises CheckFailed.

    An oplog that is not full yet has lost nothing, so what counts then is how many hours it will hold when it goes on filling at its
    average rate. In its first hour it says nothing: what was loaded into a new set does not come again.
    """
    seen = f"oplog of {window.hours:.1f} h, {window.used:.0%} full"
    if window.hours >= minimum:
        return seen
    if window.used >= _FULL:
        raise CheckFailed(f"the oplog reaches back {window.hours:.1f} h, less than {minimum:g} h", seen)
    expected = window.hours / max(window.used, 1e-9)
    if window.hours >= 1 and expected < minimum:
        raise CheckFailed(f"the oplog will reach back about {expected:.1f} h once it is full, less than {minimum:g} h", seen)
    return seen


def primary_address(check: MongodbCheck, status: Mapping[str, Any], asked: str) -> str:
    """Where to write: the primary's address as given in `members`, the member that was asked, or the primary's own name."""
    primary = next(member for member in status["members"] if member["stateStr"] == "PRIMARY")
    if primary.get("self"):
        return asked
    name = str(primary["name"])
    return next((member.address for member in check.members if member.host == name and member.address), name)


def _write(client: MongoClient[dict[str, Any]], database: str, deadline: Deadline) -> str:
    """Write and read one document with majority in a collection of its own, which is dropped whatever happens.

    The write may use half of the time that is left, so that the drop, which does not wait for a majority, has the rest.
    Collections that an earlier run, killed in between, left behind are dropped when they are an hour old.
    """
    from pymongo import WriteConcern
    from pymongo.errors import WriteConcernError
    from pymongo.read_concern import ReadConcern

    scratch = client.get_database(database, write_concern=WriteConcern(w=1))
    for old in stale(scratch.list_collection_names(), time.time()):
        scratch.drop_collection(old)
    name = f"{_SCRATCH}{int(time.time())}_{uuid.uuid4().hex}"
    concern = WriteConcern(w="majority", wtimeout=max(1, int(deadline.remaining() * 500)), j=True)
    collection = scratch.get_collection(name, write_concern=concern, read_concern=ReadConcern("majority"))
    token = uuid.uuid4().hex
    try:
        collection.insert_one({"_id": token})
        if collection.find_one({"_id": token}) is None:
            raise CheckFailed("a document written with majority could not be read back")
    except WriteConcernError as problem:
        raise CheckFailed("a write was not acknowledged by a majority in time", str(problem)) from problem
    finally:
        scratch.drop_collection(name)
    return "majority write read back"


def stale(names: Iterable[str], now: float) -> list[str]:
    """The scratch collections among `names` that are more than an hour old at `now` (seconds since 1970)."""
    found = [(name, re.fullmatch(rf"{_SCRATCH}(\d+)_[0-9a-f]{{32}}", name)) for name in names]
    return [name for name, match in found if match is not None and now - int(match[1]) > _STALE]
