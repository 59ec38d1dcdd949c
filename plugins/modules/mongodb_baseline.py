#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure what a MongoDB cluster does with a bounded load."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongodb_baseline
short_description: Measure what a MongoDB cluster does with a bounded load
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Fills a scratch database, measures reads of one document, reads of a range by an index, inserts acknowledged by a majority, and an
    aggregation, and drops the database again, also when something fails.
  - The load is bounded by operations, seconds and threads; everything goes to the primary.
  - A database that has collections and not the mark of this module is refused, and so is one in which another run is measuring. What a run
    that was killed left behind is dropped by the next one.
  - It measures what one Python client sees from where the module runs. Compare it with itself, not with other programs.
options:
  database:
    description: The scratch database. It is filled and dropped.
    type: str
    default: linda_baseline
  cluster:
    description: Name of the cluster in the measurement; the name of its replica set when not given.
    type: str
  workloads:
    description: What to measure.
    type: list
    elements: str
    default: [point_read, range_read, insert, aggregate]
    choices: [point_read, range_read, insert, aggregate]
  documents:
    description: Documents in the collection that is read.
    type: int
    default: 10000
  document_size:
    description: Bytes of payload in each document.
    type: int
    default: 512
  range_size:
    description: Documents that one read of a range returns at most.
    type: int
    default: 50
  operations:
    description: Operations of each workload at most.
    type: int
    default: 5000
  seconds:
    description: Seconds for each workload at most.
    type: int
    default: 10
  threads:
    description: Operations at a time.
    type: int
    default: 4
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Nothing is measured and nothing is written. Says what would be.
  diff_mode:
    support: none
    description: The cluster is afterwards as it was before.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
seealso:
  - module: linda.ops.mongodb_baseline_report
"""

EXAMPLES = r"""
- name: Measure for at most a minute
  linda.ops.mongodb_baseline:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    seconds: 12
  run_once: true
  register: measured
"""

RETURN = r"""
state:
  description: What was found, V(ready) or V(standalone); V(not_running) and V(no_driver) in check mode only.
  returned: success
  type: str
  sample: ready
plan:
  description: What is done.
  returned: always
  type: list
  elements: dict
  sample:
    - action: measure
      reason: point_read, at most 5000 operations in 10 s by 4 threads
steps_done:
  description: What was done, also when a later step failed.
  returned: always
  type: list
  elements: dict
  sample: []
measurement:
  description: The figures, with throughput in operations a second and latencies in milliseconds.
  returned: when something was measured
  type: dict
  sample:
    format: 1
    taken: "2026-01-01T12:00:00Z"
    cluster: rs0
    server: {host: "mongo1.example.net:27017", version: 6.0.5, members: 3}
    settings: {documents: 10000, threads: 4}
    workloads:
      point_read: {operations: 5000, seconds: 1.2, throughput: 4166.7, p50_ms: 0.8, p95_ms: 1.4, p99_ms: 2.1, max_ms: 9.2}
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(not_ours), V(busy), V(bad_load), V(bad_database) or
    V(no_set).
  returned: failure
  type: str
  sample: not_ours
"""

import contextlib
import datetime
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_baseline import FORMAT, WORKLOADS, Settings, parse_settings, summarise
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    MAJORITY,
    Cluster,
    CommandError,
    Link,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

MARKER = "linda_baseline_marker"
DOCUMENTS = "documents"
INSERTED = "inserted"
GROUPS = 100
BATCH = 1000
DUPLICATE_KEY = 11000
# Longer than any wait between two renewals of the mark, so that a mark beyond it is of a run that is no more.
GRACE_SECONDS = 60
ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "database": {"type": "str", "default": "linda_baseline"},
    "cluster": {"type": "str"},
    "workloads": {"type": "list", "elements": "str", "default": list(WORKLOADS), "choices": list(WORKLOADS)},
    "documents": {"type": "int", "default": 10000},
    "document_size": {"type": "int", "default": 512},
    "range_size": {"type": "int", "default": 50},
    "operations": {"type": "int", "default": 5000},
    "seconds": {"type": "int", "default": 10},
    "threads": {"type": "int", "default": 4},
}


class Scratch:
    """The scratch database of one run. ``renew`` keeps others away while it is in use."""

    def __init__(self, link: Link, database: str, settings: Settings) -> None:
        self.link = link
        self.database = database
        self.settings = settings
        self.run = uuid.uuid4().hex

    def collections(self) -> list[str]:
        """Return the names of the collections, the mark last."""
        answer = self.link.command("listCollections", database=self.database, nameOnly=True, cursor={"batchSize": 10000})
        names = [one["name"] for one in answer["cursor"]["firstBatch"]]
        return sorted(names, key=lambda name: (name == MARKER, name))

    def claim(self) -> None:
        """Make the database ours.

        :raises MongodbError: ``not_ours`` or ``busy``.
        """
        names = self.collections()
        if names and MARKER not in names:
            raise MongodbError(
                "not_ours",
                f"Database {self.database} has {', '.join(names[:3])} and not this module's mark: it is not ours to drop. Name another.",
            )
        if names:
            found = self.link.command("find", MARKER, database=self.database, filter={}, limit=1, singleBatch=True)["cursor"]["firstBatch"]
            now = self.link.command("hello")["localTime"]
            if found and found[0]["until"] > now:
                raise MongodbError(
                    "busy", f"Another run measures in database {self.database} (until {found[0]['until']} unless it goes on)."
                )
            self.drop()
        try:
            self.command("insert", MARKER, documents=[{"_id": "mark", **self._mark()}], writeConcern=MAJORITY)
        except CommandError as error:
            if error.number == DUPLICATE_KEY:
                raise MongodbError("busy", f"Another run began to measure in database {self.database} at the same moment.") from None
            raise

    def _mark(self) -> dict[str, Any]:
        # By the server's clock: that of the controller may be another.
        now = self.link.command("hello")["localTime"]
        return {"run": self.run, "until": now + datetime.timedelta(seconds=self.settings.seconds + GRACE_SECONDS)}

    def renew(self) -> None:
        """Say that this run goes on."""
        self.command("update", MARKER, updates=[{"q": {"_id": "mark", "run": self.run}, "u": {"$set": self._mark()}}])

    def command(self, name: str, value: Any, **fields: Any) -> dict[str, Any]:
        """Send a command to the scratch database; a write that was refused is an error, not an answer."""
        answer = self.link.command(name, value, database=self.database, **fields)
        for problem in [*answer.get("writeErrors", []), *([answer["writeConcernError"]] if "writeConcernError" in answer else [])]:
            raise CommandError("command_failed", f"{self.link.host}: {name}: {problem.get('errmsg', problem)}", int(problem.get("code", 0)))
        return answer

    def fill(self) -> None:
        """Load the documents that are read, and their index."""
        randomly = random.Random(6)  # noqa: S311  # the same documents each time, nothing secret
        self.command("createIndexes", DOCUMENTS, indexes=[{"key": {"group": 1, "number": 1}, "name": "group_1_number_1"}])
        for first in range(0, self.settings.documents, BATCH):
            self.renew()
            numbers = range(first, min(first + BATCH, self.settings.documents))
            batch = [{"_id": number, **document(number, randomly, self.settings.document_size)} for number in numbers]
            self.command("insert", DOCUMENTS, documents=batch, ordered=False, writeConcern=MAJORITY)

    def drop(self) -> None:
        """Drop everything in it, the mark last, so that the database is known for ours to the end."""
        for name in self.collections():
            self.command("drop", name, writeConcern=MAJORITY)


def document(number: int, randomly: random.Random, size: int) -> dict[str, Any]:
    """Return a document without its _id; the payload does not compress to nothing."""
    kinds = ("text", "image", "audio", "document")
    payload = randomly.randbytes(size // 2 + 1).hex()[:size]
    return {"group": number % GROUPS, "number": number // GROUPS, "kind": kinds[number // GROUPS % 4], "payload": payload}


def workload(scratch: Scratch, name: str, seed: int) -> Callable[[], None]:
    """Return what one operation of the workload does."""
    randomly, settings = random.Random(seed), scratch.settings  # noqa: S311  # which document is read is nothing secret
    per_group = max(1, settings.documents // GROUPS)

    def point_read() -> None:
        scratch.command("find", DOCUMENTS, filter={"_id": randomly.randrange(settings.documents)}, limit=1, singleBatch=True)

    def range_read() -> None:
        start = randomly.randrange(max(1, per_group - settings.range_size + 1))
        query = {"group": randomly.randrange(GROUPS), "number": {"$gte": start}}
        size = settings.range_size
        scratch.command("find", DOCUMENTS, filter=query, sort={"number": 1}, limit=size, batchSize=size, singleBatch=True)

    def insert() -> None:
        number = randomly.randrange(settings.documents)
        one = {"_id": uuid.uuid4().hex, **document(number, randomly, settings.document_size)}
        scratch.command("insert", INSERTED, documents=[one], writeConcern=MAJORITY)

    def aggregate() -> None:
        stages = [
            {"$match": {"group": randomly.randrange(GROUPS)}},
            {"$group": {"_id": "$kind", "count": {"$sum": 1}, "last": {"$max": "$number"}}},
            {"$sort": {"_id": 1}},
        ]
        scratch.command("aggregate", DOCUMENTS, pipeline=stages, cursor={})

    return {"point_read": point_read, "range_read": range_read, "insert": insert, "aggregate": aggregate}[name]


def measure(scratch: Scratch, name: str) -> dict[str, Any]:
    """Run one workload by threads and return its figures.

    Each thread does one operation first that is not counted: it opens the connection.

    :raises MongodbError: the first error of any thread, which ends the workload.
    """
    settings = scratch.settings
    share = [
        settings.operations // settings.threads + (number < settings.operations % settings.threads) for number in range(settings.threads)
    ]
    latencies: list[list[float]] = [[] for _number in range(settings.threads)]
    problems: list[MongodbError] = []
    stop = threading.Event()
    # The clock starts when every thread is ready; its action runs in one of them.
    started: list[float] = []
    gate = threading.Barrier(settings.threads, action=lambda: started.append(time.perf_counter()))

    def work(number: int) -> None:
        once = workload(scratch, name, number)
        try:
            once()
            gate.wait()
            deadline = started[0] + settings.seconds
            before = time.perf_counter()
            while len(latencies[number]) < share[number] and before < deadline and not stop.is_set():
                once()
                after = time.perf_counter()
                latencies[number].append(after - before)
                before = after
        except MongodbError as error:
            problems.append(error)
            stop.set()
            gate.abort()
        except threading.BrokenBarrierError:
            pass

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(settings.threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ended = time.perf_counter()
    if problems:
        raise problems[0]
    return summarise([one for own in latencies for one in own], ended - started[0])


def steps_of(settings: Settings, database: str) -> list[dict[str, Any]]:
    """Return what is done, for people and programs."""
    load = f"at most {settings.operations} operations in {settings.seconds} s by {settings.threads} threads"
    return [
        {"action": "fill", "reason": f"put {settings.documents} documents of {settings.document_size} bytes into database {database}"},
        *({"action": "measure", "reason": f"{name}, {load}"} for name in settings.workloads),
        {"action": "drop", "reason": f"drop database {database}"},
    ]


@contextlib.contextmanager
def _claimed(scratch: Scratch) -> Iterator[None]:
    """Hold the scratch database and drop it whatever happens; of two errors the first is told."""
    scratch.claim()
    try:
        yield
    except BaseException:
        with contextlib.suppress(MongodbError):
            scratch.drop()
        raise
    scratch.drop()


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    settings, database = parse_settings(module.params), module.params["database"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", database) or database in ("admin", "config", "local"):
        raise MongodbError("bad_database", f"database = {database!r} is not the name of a database for scratch data.")
    result["plan"] = steps_of(settings, database)
    try:
        with Cluster(Login.from_params(module.params)) as cluster:
            result["state"] = cluster.state
            if cluster.state not in ("ready", "standalone"):
                raise MongodbError(cluster.state, f"{cluster.entry.host}: the cluster is not ready to be measured ({cluster.state}).")
            if not module.check_mode:
                whole_measurement(cluster, settings, module.params, result)
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running", "no_set", "no_users"):
            raise
        result["state"] = error.code


def whole_measurement(cluster: Cluster, settings: Settings, params: dict[str, Any], result: dict[str, Any]) -> None:
    """Measure all workloads on the primary; ``result`` is filled as it goes."""
    link = cluster.primary()
    scratch = Scratch(link, params["database"], settings)
    plan = iter(result["plan"])
    figures: dict[str, Any] = {}
    with _claimed(scratch):
        scratch.fill()
        result["steps_done"].append(next(plan))
        for name in settings.workloads:
            scratch.renew()
            figures[name] = measure(scratch, name)
            result["steps_done"].append(next(plan))
    result["steps_done"].append(next(plan))
    hello = link.command("hello")
    result["measurement"] = {
        "format": FORMAT,
        "taken": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cluster": params["cluster"] or hello.get("setName", link.host),
        "server": {
            "host": hello.get("me", link.host),
            "version": link.command("buildInfo")["version"],
            "members": len(hello.get("hosts", [])) or 1,
        },
        "settings": {**asdict(settings), "workloads": list(settings.workloads), "seen_from": socket.gethostname()},
        "workloads": figures,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "diff": {}, "plan": [], "steps_done": []}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
