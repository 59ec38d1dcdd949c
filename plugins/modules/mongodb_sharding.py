#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the sharding of a MongoDB cluster as described."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_sharding
short_description: Keep the sharding of a MongoDB cluster as described
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares shards, zones, sharded collections and the balancer with a description over one connection to a mongos, and changes
    what differs.
  - Shards are added, and removed with a drain that is watched and, when a run ends before it does, resumed by the next one.
  - A collection is sharded by a hashed or a ranged key, its first chunks made where its zones say.
  - A shard key that differs is shown and refused, unless the collection allows to reshard or refine it.
  - What is not described is left alone.
options:
  shards:
    description:
      - The shards.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the shard.
        type: str
        required: true
      shard:
        description:
          - The replica set with some of its members as C(set/host:port,host:port). Which of them does not matter once it is added.
          - Required unless O(shards[].state=absent).
        type: str
      zones:
        description: All zones of the shard. When not given, they stay as they are; an empty list takes it out of all.
        type: list
        elements: str
      state:
        description: V(absent) drains the shard and removes it.
        type: str
        default: present
        choices: [absent, present]
      allow:
        description:
          - V(move_primary) allows a shard that leaves to hand the databases it is primary of to the others. Their collections that are not
            sharded take no writes while they move.
        type: list
        elements: str
        default: []
  collections:
    description:
      - The sharded collections.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: The database.
        type: str
        required: true
        aliases: [db]
      collection:
        description: The collection.
        type: str
        required: true
      keys:
        description:
          - The shard key, as a list of single-entry mappings in order, each V(1) or V(hashed), or as a mapping with exactly one field.
        type: raw
        required: true
      unique:
        description: Whether the server keeps the key unique.
        type: bool
        default: false
      zones:
        description:
          - All ranges of the key that belong to a zone. When not given, they stay as they are; an empty list takes all away.
        type: list
        elements: dict
        suboptions:
          zone:
            description: Name of the zone. A shard that stays must be in it.
            type: str
            required: true
          min:
            description:
              - Where it begins (included), the first fields of the key with their values, in extended JSON where YAML
                has no such type (C($oid), C($date), C($numberLong), C($minKey), C($maxKey)).
            type: dict
            required: true
          max:
            description: Where it ends (not included).
            type: dict
            required: true
      split_points:
        description:
          - Where chunks begin when a collection with a ranged key is sharded. Missing ones are made later too,
            unless the server merges chunks by itself (7.0 and later).
        type: list
        elements: dict
        default: []
      num_initial_chunks:
        description: Chunks of an empty collection when it is sharded or resharded by a key that begins with a hashed field.
        type: int
      presplit_hashed_zones:
        description: Make the first chunks of a hashed key by O(collections[].zones).
        type: bool
        default: false
      allow:
        description:
          - V(reshard) allows to change the key by copying the collection; V(refine) allows to add fields to it, which cannot be undone.
        type: list
        elements: str
        default: []
  balancer_state:
    description: Whether the balancer runs. When not given, it stays as it is.
    type: str
    choices: [started, stopped]
  window:
    description: The time of day in which the balancer may run. When not given, it stays as it is.
    type: dict
    suboptions:
      start:
        description: Begin as C(HH:MM), in the time zone of the config servers. Quote it.
        type: str
      stop:
        description: End as C(HH:MM).
        type: str
      state:
        description: V(absent) lets the balancer run at any time.
        type: str
        default: present
        choices: [absent, present]
  drain_timeout:
    description:
      - Seconds to watch a shard being drained. A run that ends earlier than the drain fails with C(drain_unfinished); the drain goes
        on, and the next run watches it again.
    type: int
    default: 3600
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads and plans; no command that writes is sent.
  diff_mode:
    support: full
    description: Shows what is described before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and a mongos can be reached.
notes:
  - O(login_host) is a mongos. A member of a replica set is refused.
  - Tested against a modelled router that speaks MongoDB's wire protocol, not against a real sharded cluster.
seealso:
  - module: linda.ops.mongodb_replset
"""

EXAMPLES = r"""
- name: Two shards, messages spread by user, nights for the balancer
  linda.ops.mongodb_sharding:
    login_host: router.example.net
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    shards:
      - name: one
        shard: one/mongo1.example.net:27018,mongo2.example.net:27018
        zones: [eu]
      - name: two
        shard: two/mongo4.example.net:27018,mongo5.example.net:27018
    collections:
      - database: linda
        collection: messages
        keys:
          - user_id: hashed
        num_initial_chunks: 8
      - database: linda
        collection: entities
        keys:
          - region: 1
          - user_id: 1
        zones:
          - zone: eu
            min: {region: de}
            max: {region: df}
    balancer_state: started
    window:
      start: "01:00"
      stop: "05:00"
  run_once: true

- name: Take a shard out
  linda.ops.mongodb_sharding:
    login_host: router.example.net
    shards:
      - name: two
        state: absent
        allow: [move_primary]
    drain_timeout: 86400
  run_once: true
"""

RETURN = r"""
state:
  description: V(ready) for a router that answers; V(not_running) and V(no_driver) in check mode only.
  returned: success
  type: str
  sample: ready
plan:
  description: The commands from what was found to the description.
  returned: always
  type: list
  elements: dict
  sample:
    - action: shard_collection
      target: linda.messages
      reason: "shard linda.messages by {user_id: hashed}"
steps_done:
  description: The commands that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
progress:
  description: What was left of a drain each time that changed.
  returned: always
  type: list
  elements: dict
  sample:
    - shard: two
      chunks: 12
      databases: 1
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(wrong_server), V(reshard_not_allowed),
    V(zone_without_shard), V(last_shard), V(shard_is_primary), V(overlapping_ranges), V(drain_unfinished) or V(command_failed).
  returned: failure
  type: str
  sample: reshard_not_allowed
"""

import contextlib
import datetime
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    HAS_PYMONGO,
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    CommandError,
    Link,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_sharding_plan import (
    CollectionSeen,
    Desired,
    Key,
    Observed,
    Range,
    ShardSeen,
    Step,
    Value,
    other_value,
    parse_desired,
    parse_value,
    picture,
    plan,
)

# Without the driver nothing is connected to, and so nothing of this is used.
with contextlib.suppress(ImportError):
    from bson.int64 import Int64
    from bson.max_key import MaxKey
    from bson.min_key import MinKey
    from bson.objectid import ObjectId

SHARD_NOT_FOUND = 70
# hello's maxWireVersion of MongoDB 6.0 and 7.0.
WIRE_6_0 = 17
WIRE_7_0 = 21
POLL_SECONDS = 1.0
ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "shards": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "shard": {"type": "str"},
            "zones": {"type": "list", "elements": "str"},
            "state": {"type": "str", "default": "present", "choices": ["absent", "present"]},
            "allow": {"type": "list", "elements": "str", "default": []},
        },
    },
    "collections": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "database": {"type": "str", "required": True, "aliases": ["db"]},
            "collection": {"type": "str", "required": True},
            "keys": {"type": "raw", "required": True, "no_log": False},
            "unique": {"type": "bool", "default": False},
            "zones": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "zone": {"type": "str", "required": True},
                    "min": {"type": "dict", "required": True},
                    "max": {"type": "dict", "required": True},
                },
            },
            "split_points": {"type": "list", "elements": "dict", "default": []},
            "num_initial_chunks": {"type": "int"},
            "presplit_hashed_zones": {"type": "bool", "default": False},
            "allow": {"type": "list", "elements": "str", "default": []},
        },
    },
    "balancer_state": {"type": "str", "choices": ["started", "stopped"]},
    "window": {
        "type": "dict",
        "options": {
            "start": {"type": "str"},
            "stop": {"type": "str"},
            "state": {"type": "str", "default": "present", "choices": ["absent", "present"]},
        },
    },
    "drain_timeout": {"type": "int", "default": 3600},
}


def to_wire(value: Any) -> Any:
    """Turn extended JSON of a step into what the driver sends."""
    if isinstance(value, Mapping):
        if len(value) == 1:
            ((kind, inner),) = value.items()
            if kind in ("$minKey", "$maxKey"):
                return MinKey() if kind == "$minKey" else MaxKey()
            if kind == "$oid":
                return ObjectId(inner)
            if kind == "$date":
                return datetime.datetime.fromisoformat(inner)
        return {name: to_wire(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_wire(inner) for inner in value]
    return value


def from_wire(value: Any) -> Value:
    """Read one value of a bound as the server sends it."""
    if isinstance(value, (MinKey, MaxKey)):
        return parse_value({"$minKey" if isinstance(value, MinKey) else "$maxKey": 1})
    if isinstance(value, ObjectId):
        return parse_value({"$oid": str(value)})
    if isinstance(value, datetime.datetime):
        return parse_value({"$date": value.replace(tzinfo=datetime.UTC).isoformat()})
    if isinstance(value, Int64):
        return parse_value(int(value))
    try:
        return parse_value(value)
    except ValueError:
        return other_value(repr(value))


def _find(link: Link, collection: str, query: Mapping[str, Any], projection: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return all documents of a collection of the database config."""
    more: dict[str, Any] = {"projection": projection} if projection else {}
    cursor = link.command("find", collection, database="config", filter=query, batchSize=10000, **more)["cursor"]
    found = list(cursor["firstBatch"])
    while cursor["id"]:
        cursor = link.command("getMore", Int64(cursor["id"]), database="config", collection=collection)["cursor"]
        found += cursor["nextBatch"]
    return found


def _key(document: Mapping[str, Any]) -> Key:
    return tuple((name, "hashed" if kind == "hashed" else 1 if kind == 1 else kind) for name, kind in document.items())


def observe(link: Link, desired: Desired, hello: Mapping[str, Any]) -> Observed:
    """Read what the router knows: six commands, and one more for each collection with split points."""
    shards: dict[str, ShardSeen] = {}
    for one in link.command("listShards")["shards"]:
        set_name, _slash, hosts = str(one["host"]).partition("/")
        zones = frozenset(one.get("tags", []))
        shards[one["_id"]] = ShardSeen(set_name, tuple(sorted(hosts.split(","))), zones, bool(one.get("draining")))
    databases = _find(link, "databases", {})
    collections: dict[str, CollectionSeen] = {}
    splits = {one.namespace for one in desired.collections if one.splits}
    wire = int(hello.get("maxWireVersion", 0))
    for one in _find(link, "collections", {"_id": {"$in": [one.namespace for one in desired.collections]}}):
        # MongoDB 8.0 tracks some collections that are not sharded, and 4.4 kept those that were dropped.
        if one.get("unsplittable") or one.get("dropped"):
            continue
        starts = None
        if one["_id"] in splits and wire < WIRE_7_0:
            chunks = _find(link, "chunks", {"uuid": one["uuid"]}, {"min": 1, "_id": 0})
            starts = frozenset(tuple(map(from_wire, chunk["min"].values())) for chunk in chunks)
        collections[one["_id"]] = CollectionSeen(_key(one["key"]), bool(one.get("unique")), starts)
    ranges: dict[str, set[Range]] = {}
    for one in _find(link, "tags", {}):
        low, high = (tuple(map(from_wire, one[end].values())) for end in ("min", "max"))
        ranges.setdefault(one["ns"], set()).add(Range(one["tag"], tuple(one["min"]), low, high))
    balancer = next(iter(_find(link, "settings", {"_id": "balancer"})), {})
    window = balancer.get("activeWindow") or {}
    return Observed(
        shards,
        {one["_id"]: one["primary"] for one in databases},
        collections,
        {namespace: frozenset(found) for namespace, found in ranges.items()},
        running=not balancer.get("stopped") and balancer.get("mode", "full") != "off",
        window=(window["start"], window["stop"]) if window else (),
        enabled=None if wire >= WIRE_6_0 else frozenset(one["_id"] for one in databases if one.get("partitioned")),
    )


def carry_out(link: Link, step: Step, progress: list[dict[str, Any]], timeout: int, pause: float = POLL_SECONDS) -> None:
    """Send the command of a step, again and again where the step waits; ``progress`` gets what is left whenever that changes.

    :raises MongodbError: ``drain_unfinished`` after ``timeout`` seconds, ``shard_is_primary`` when databases came to a shard meanwhile.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            fields = {name: to_wire(value) for name, value in step.fields.items()}
            answer = link.command(step.command, step.value, database=step.database, **fields)
        except CommandError as error:
            # What somebody else, or the balancer for a zone, did just before us is done.
            if (step.wait == "gone" and error.number == SHARD_NOT_FOUND) or (
                step.action == "split" and "is a boundary key" in error.message
            ):
                return
            raise
        if not step.wait or answer.get("state") == "completed":
            return
        remaining = answer.get("remaining") or {}
        left = {"shard": step.target, "chunks": int(remaining.get("chunks", 0)), "databases": int(remaining.get("dbs", 0))}
        if remaining and (not progress or progress[-1] != left):
            progress.append(left)
        if remaining and not left["chunks"]:
            if step.wait == "chunks":
                return
            if left["databases"]:
                names = ", ".join(map(str, answer.get("dbsToMove", [])))
                raise MongodbError(
                    "shard_is_primary", f"Shard {step.target} became the primary shard of {names} meanwhile: run this again."
                )
        if time.monotonic() > deadline:
            raise MongodbError(
                "drain_unfinished",
                f"Shard {step.target} still has {left['chunks']} chunks after {timeout} s. The drain goes on, the next run watches it.",
            )
        time.sleep(pause)


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    desired = parse_desired(module.params)
    login = Login.from_params(module.params)
    try:
        with _router(login) as (link, hello):
            observed = observe(link, desired, hello)
            result["state"] = "ready"
            for step in record(result, desired, observed) if not module.check_mode else ():
                carry_out(link, step, result["progress"], module.params["drain_timeout"])
                result["steps_done"].append(step.describe())
                result["changed"] = True
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running"):
            raise
        result["state"] = error.code
        observed = Observed({})
    if module.check_mode:
        result["changed"] = bool(record(result, desired, observed))


@contextlib.contextmanager
def _router(login: Login) -> Iterator[tuple[Link, dict[str, Any]]]:
    """Connect to the mongos; yields the connection and what it said to ``hello``."""
    if not HAS_PYMONGO:
        raise MongodbError("no_driver", "The Python package pymongo (Debian: python3-pymongo) is missing where the module runs.")
    link = Link(login, login.host, login=True)
    try:
        hello = link.command("hello")
        if hello.get("msg") != "isdbgrid":
            raise MongodbError("wrong_server", f"{login.host} is no mongos; shards and sharded collections are known to a mongos only.")
        yield link, hello
    finally:
        link.close()


def record(result: dict[str, Any], desired: Desired, observed: Observed) -> list[Step]:
    """Plan, and put the plan and the diff into the result."""
    steps = plan(desired, observed)
    before, after = picture(desired, observed, steps)
    result["plan"] = [step.describe() for step in steps]
    result["diff"] = {"before": before, "after": after}
    return steps


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "progress": []}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
