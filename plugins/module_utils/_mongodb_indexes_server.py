# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The input/output edge of mongodb_indexes: read indexes, answer the planner's questions, carry out steps.

Reading costs one command for each collection, over one connection. Writing goes through one more client, without a time-out on
answers (a build may take hours; a peer that is gone is noticed by TCP keep-alive), and several collections at once.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import MAJORITY, UNAUTHORIZED, CommandError, Link
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_plan import (
    SAMPLES,
    Found,
    Question,
    Step,
    unsure_collations,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import (
    Collation,
    Described,
    Index,
    Namespace,
    Wanted,
    collation_form,
    filter_form,
    read_index,
)

try:
    from bson import json_util

    HAS_BSON = True
except ImportError:
    HAS_BSON = False

NAMESPACE_NOT_FOUND = 26
NOT_FOR_VIEWS = 166
TIME_LIMIT = 50
FAILURES: Mapping[int, str] = {
    50: "time_limit",
    67: "bad_index",
    72: "bad_index",
    85: "index_conflict",
    86: "index_conflict",
    276: "build_aborted",
    359: "duplicates",
    11000: "duplicates",
}
# Features by the wire protocol, which `hello` tells without a command of its own.
WIRE_VERSIONS = (
    (25, (8, 0)),
    (21, (7, 0)),
    (20, (6, 3)),
    (19, (6, 2)),
    (18, (6, 1)),
    (17, (6, 0)),
    (16, (5, 3)),
    (15, (5, 2)),
    (14, (5, 1)),
    (13, (5, 0)),
)
# Longest time, in seconds, for counting documents before a decision.
COUNT_SECONDS = 10
PROGRESS_SECONDS = 5.0
# Ten days in seconds; the driver takes less than 1e9 milliseconds.
LONGEST_BUILD = 10 * 86400
MOST_REPORTS = 100
# Values that JSON has no word for: they travel as extended JSON.
RICH = ("partialFilterExpression", "storageEngine")


def plain(value: Any) -> Any:
    """Return BSON as plain data, with extended JSON for what JSON has no word for."""
    return json.loads(json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS))


def rich(value: Any) -> Any:
    """Return plain data with extended JSON as BSON."""
    return json_util.loads(json.dumps(value))


def version_of(hello: Mapping[str, Any]) -> tuple[int, int]:
    """Return (major, minor) of the server's features.

    :raises MongodbError: ``old_server``.
    """
    wire = int(hello.get("maxWireVersion", 0))
    for number, version in WIRE_VERSIONS:
        if wire >= number:
            return version
    raise MongodbError("old_server", "The server is older than MongoDB 5.0, whose rules for indexes are others.")


def compatibility_version(link: Link) -> tuple[int, int] | None:
    """Return the feature compatibility version, None when we may not read it."""
    try:
        answer = link.command("getParameter", featureCompatibilityVersion=1)
    except CommandError as error:
        if error.number != UNAUTHORIZED:
            raise
        return None
    major, _dot, minor = str(answer["featureCompatibilityVersion"]["version"]).partition(".")
    return (int(major), int(minor))


def observe(link: Link, described: Sequence[Described]) -> dict[Namespace, Found]:
    """Read the indexes of the described collections; one command each.

    :raises MongodbError: ``not_a_collection`` for a view, and those of the connection.
    """
    return {one.namespace: _read(link, one) for one in described}


def _read(link: Link, one: Described) -> Found:
    try:
        # Without the build's number an index that is still being built looks like any other.
        answer = link.command("listIndexes", one.collection, database=one.database, includeBuildUUIDs=True)
    except CommandError as error:
        if error.number == NAMESPACE_NOT_FOUND:
            return Found(exists=False)
        if error.number == NOT_FOR_VIEWS:
            raise MongodbError("not_a_collection", f"{one.label} is a view; indexes belong to the collection it shows.") from None
        raise
    documents = list(answer["cursor"]["firstBatch"])
    if answer["cursor"]["id"]:
        raise MongodbError("command_failed", f"{one.label}: the server listed only a part of the indexes.")
    default = None
    indexes: list[Index] = []
    for document in documents:
        spec = document.get("spec", document)
        if spec["name"] == "_id_" or spec.get("clustered"):
            default = collation_form(spec.get("collation"))
            continue
        spec = {name: plain(value) if name in RICH else value for name, value in spec.items()}
        indexes.append(read_index(spec, building="buildUUID" in document))
    return Found(True, tuple(indexes), default)


def settle(link: Link | None, described: Sequence[Described], found: Mapping[Namespace, Found]) -> tuple[Described, ...]:
    """Return the descriptions with filters and collations as the server would store them."""
    expand: dict[Collation, Collation] = {}
    settled: list[Described] = []
    for one in described:
        one = replace(one, wanted=tuple(_settle_filter(wanted) for wanted in one.wanted))
        for collation in unsure_collations(one, found[one.namespace]) - set(expand) if link else ():
            expand[collation] = _expanded(link, one, collation)
        settled.append(replace(one, wanted=tuple(_settle_collation(wanted, expand) for wanted in one.wanted)))
    return tuple(settled)


def _settle_filter(wanted: Wanted) -> Wanted:
    expression = wanted.index.document.get("partialFilterExpression")
    if not expression or not HAS_BSON:
        return wanted
    return replace(wanted, index=replace(wanted.index, filter=filter_form(plain(rich(expression)))))


def _settle_collation(wanted: Wanted, expand: Mapping[Collation, Collation]) -> Wanted:
    collation = wanted.index.collation
    if collation is None or collation not in expand:
        return wanted
    return replace(wanted, index=replace(wanted.index, collation=expand[collation]))


def _expanded(link: Link | None, one: Described, collation: Collation) -> Collation:
    """Ask the server what it makes of a collation whose locale has defaults of its own."""
    if link is None:
        return collation
    given = dict(_given(one, collation))
    answer = link.command(
        "explain", {"find": one.collection, "filter": {}, "collation": given}, database=one.database, verbosity="queryPlanner"
    )
    return collation_form(answer.get("queryPlanner", {}).get("collation")) or collation


def _given(one: Described, collation: Collation) -> Mapping[str, Any]:
    """Return a collation as it was described, without defaults."""
    for wanted in one.wanted:
        if wanted.index.collation == collation and "collation" in wanted.index.document:
            given: Mapping[str, Any] = wanted.index.document["collation"]
            return given
    return dict(collation)


# ---------------------------------------------------------------------------------------------------------------------- questions


def answer(link: Link, question: Question) -> Any:
    """Answer a question of the planner; see its table."""
    if question.what == "shard_key":
        return _shard_key(link, question.namespace)
    about = question.about
    if about is None:
        raise ValueError(question.what)
    try:
        if question.what == "expired":
            return _expired(link, question.namespace, about)
        if question.what == "duplicates":
            return _duplicates(link, question.namespace, about)
    except CommandError as error:
        if error.number in (TIME_LIMIT, UNAUTHORIZED):
            return None
        raise
    return _hidden_for(link, question.namespace, about)


def _now(link: Link) -> Any:
    return link.command("hello")["localTime"]


def _expired(link: Link, namespace: Namespace, index: Index) -> int:
    """Count the documents past their time. A date in an array counts by its earliest, as with the server."""
    limit = _now(link) - datetime.timedelta(seconds=index.ttl or 0)
    conditions: list[dict[str, Any]] = [{index.keys[0][0]: {"$lt": limit}}]
    if index.filter is not None:
        conditions.append(rich(index.document["partialFilterExpression"]))
    count = link.command(
        "count", namespace[1], database=namespace[0], query={"$and": conditions}, maxTimeMS=min(link.options.timeout, COUNT_SECONDS) * 1000
    )
    return int(count["n"])


def _duplicates(link: Link, namespace: Namespace, index: Index) -> list[dict[str, Any]]:
    """Return samples of keys that more than one document has, by the rules of a unique index.

    Each element of an array is a key of its own; null and a missing field are one; an empty array is something else again.
    """
    names = [name for name, _kind in index.keys]
    stages: list[dict[str, Any]] = []
    if index.filter is not None:
        stages.append({"$match": rich(index.document["partialFilterExpression"])})
    if index.sparse:
        stages.append({"$match": {"$or": [{name: {"$exists": True}} for name in names]}})
    fields = {f"k{place}": _key_expression(name) for place, name in enumerate(names)}
    stages.append({"$project": fields})
    stages += [{"$unwind": {"path": f"$k{place}", "preserveNullAndEmptyArrays": True}} for place in range(len(names))]
    key = {f"k{place}": {"$ifNull": [f"$k{place}", None]} for place in range(len(names))}
    stages += [
        {"$group": {"_id": {"document": "$_id", "key": key}}},
        {"$group": {"_id": "$_id.key", "documents": {"$sum": 1}}},
        {"$match": {"documents": {"$gt": 1}}},
        {"$sort": {"documents": -1, "_id": 1}},
        {"$limit": SAMPLES},
    ]
    more: dict[str, Any] = {"collation": dict(index.collation)} if index.collation else {}
    found = link.command(
        "aggregate",
        namespace[1],
        database=namespace[0],
        pipeline=stages,
        cursor={},
        allowDiskUse=True,
        maxTimeMS=min(link.options.timeout, COUNT_SECONDS) * 1000,
        **more,
    )
    samples = []
    for one in found["cursor"]["firstBatch"]:
        shown = {name: _short(plain(one["_id"][f"k{place}"])) for place, name in enumerate(names)}
        samples.append({"key": shown, "documents": int(one["documents"])})
    return samples


def _key_expression(name: str) -> dict[str, Any]:
    return {"$cond": [{"$eq": [f"${name}", []]}, "\0empty array", {"$ifNull": [f"${name}", None]}]}


def _short(value: Any) -> Any:
    text = json.dumps(value, default=str)
    return value if len(text) <= 60 else f"{text[:59]}…"


def _hidden_for(link: Link, namespace: Namespace, index: Index) -> float | None:
    """Return for how many seconds at least an index has been hidden.

    ``collMod`` begins the statistics of an index anew on every member, and so do a restart and an initial sync: the time that
    ``$indexStats`` names is never before that of hiding.

    :raises MongodbError: ``not_authorized``; without the answer nothing would ever be dropped.
    """
    pipeline = [{"$indexStats": {}}, {"$match": {"name": index.name}}]
    try:
        found = link.command("aggregate", namespace[1], database=namespace[0], pipeline=pipeline, cursor={})["cursor"]["firstBatch"]
    except CommandError as error:
        if error.number != UNAUTHORIZED:
            raise
        raise MongodbError(
            "not_authorized", f"{'.'.join(namespace)}: unmanaged: drop needs the action indexStats, which the role clusterMonitor has."
        ) from None
    if not found:
        return None
    return float((_now(link) - found[0]["accesses"]["since"]).total_seconds())


def _shard_key(link: Link, namespace: Namespace) -> tuple[tuple[str, Any], ...]:
    """Return the shard key, () without one. A shard keeps a copy of what the config servers know."""
    for collection in ("collections", "cache.collections"):
        try:
            found = link.command("find", collection, database="config", filter={"_id": ".".join(namespace)}, limit=1)
        except CommandError as error:
            if error.number == UNAUTHORIZED:
                continue
            raise
        for document in found["cursor"]["firstBatch"]:
            if document.get("key") and not document.get("dropped"):
                return tuple((str(name), int(kind) if isinstance(kind, float) else kind) for name, kind in document["key"].items())
    return ()


# -------------------------------------------------------------------------------------------------------------------------- steps


@contextlib.contextmanager
def patient(link: Link) -> Iterator[Link]:
    """Hold one more client of the same server that waits for an answer as long as a build may take."""
    other = Link(replace(link.options, timeout=LONGEST_BUILD), link.host, login=True)
    try:
        yield other
    finally:
        other.close()


@dataclass(frozen=True)
class Building:
    """How indexes are built. ``limit`` is in seconds for each command, None without; ``quorum`` None leaves it to the server."""

    parallel: int
    quorum: str | int | None = None
    limit: int | None = None


@dataclass
class Work:
    """Carries out steps, several collections at once, and keeps what was done and how far builds are.

    ``done`` gets each step at once, in the order of completion; ``progress`` what the server says about builds that take long.
    """

    link: Link
    building: Building
    done: Callable[[Step], None]
    say: Callable[[str], None]
    progress: list[dict[str, Any]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Do all steps, those of one collection in their order. After a failure nothing new is begun.

        :raises MongodbError: of the first step that failed.
        """
        groups: dict[Namespace, list[Step]] = {}
        for step in steps:
            groups.setdefault(step.namespace, []).append(step)
        started = time.monotonic()
        with ThreadPoolExecutor(max_workers=self.building.parallel) as pool:
            left: set[Future[None]] = {pool.submit(self._group, group) for group in groups.values()}
            failed: list[BaseException] = []
            while left:
                ended, left = wait(left, timeout=PROGRESS_SECONDS, return_when=FIRST_COMPLETED)
                failed += [error for future in ended if (error := future.exception()) is not None]
                if not ended:
                    self._watch(time.monotonic() - started)
        if failed:
            first, others = failed[0], [error.message for error in failed[1:] if isinstance(error, MongodbError)]
            if isinstance(first, MongodbError) and others:
                first.message = " ".join([first.message, *others])
            raise first

    def _group(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self._stop.is_set():
                return
            try:
                self._one(step)
            except BaseException:
                self._stop.set()
                raise
            with self._lock:
                self.done(step)

    def _one(self, step: Step) -> None:
        database, collection = step.namespace
        fields: dict[str, Any] = {"writeConcern": MAJORITY}
        try:
            if step.action == "create_indexes":
                fields["indexes"] = [_document(index) for index in step.indexes]
                if self.building.quorum is not None:
                    fields["commitQuorum"] = self.building.quorum
                if self.building.limit is not None:
                    fields["maxTimeMS"] = self.building.limit * 1000
                self.link.command("createIndexes", collection, database=database, **fields)
            elif step.action == "modify_index":
                self.link.command("collMod", collection, database=database, index={"name": step.names[0], **dict(step.change)}, **fields)
            else:
                self.link.command("dropIndexes", collection, database=database, index=list(step.names), **fields)
        except CommandError as error:
            code = FAILURES.get(error.number, error.code)
            how = " Builds that the server began go on there; run this again to wait for them." if code == "time_limit" else ""
            raise CommandError(code, f"{database}.{collection}: {', '.join(step.names)}: {error.message}{how}", error.number) from None

    def _watch(self, seconds: float) -> None:
        """Note how far the server is. Says nothing when we may not ask."""
        pipeline = [
            {"$currentOp": {"allUsers": True, "idleConnections": False}},
            {"$match": {"msg": {"$regex": "^Index Build"}, "progress.total": {"$gt": 0}}},
            {"$project": {"ns": 1, "msg": 1, "progress": 1}},
        ]
        with contextlib.suppress(MongodbError):
            for one in self.link.command("aggregate", 1, pipeline=pipeline, cursor={})["cursor"]["firstBatch"]:
                report = {
                    "collection": str(one["ns"]),
                    "done": int(one["progress"]["done"]),
                    "total": int(one["progress"]["total"]),
                    "seconds": round(seconds),
                }
                if len(self.progress) < MOST_REPORTS:
                    self.progress.append(report)
                self.say("indexes of {collection}: {done} of {total} documents after {seconds} s".format(**report))


def _document(index: Index) -> dict[str, Any]:
    return {name: rich(value) if name in RICH else value for name, value in index.document.items()}
