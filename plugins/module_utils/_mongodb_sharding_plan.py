# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way from the sharding a MongoDB cluster has to the sharding it should have. Pure: no input, no output.

Order of a plan, so that every prefix of it leaves a cluster that can serve and keeps its data where it belongs:

1. balancer and its window: what follows makes chunks move, and only when they may;
2. shards that join, and the zones that shards get;
3. for each collection: ranges that go; then the collection is sharded (its ranges first, so that its first chunks are made where they
   belong), refined or resharded; then ranges that come;
4. zones that shards lose, when no range needs them there any more;
5. shards that leave: drained of chunks, then of the databases they are primary of, then removed.

A shard key is changed only when the collection allows it by name; a shard that would leave databases behind only when it allows that.
"""

from __future__ import annotations

import datetime
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._fields import closest, shown
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import canonical_host

Value = tuple[int, Any]  # (place of the type in the BSON order, value)
Key = tuple[tuple[str, Any], ...]  # fields in order, each 1 or "hashed"
Bound = tuple[Value, ...]  # one value for each field of the shard key

# https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
_MIN, _NULL, _NUMBER, _STRING, _OBJECT_ID, _BOOLEAN, _DATE, _OTHER, _MAX = 0, 1, 2, 3, 7, 8, 9, 50, 99
MIN_KEY: Value = (_MIN, 0)
MAX_KEY: Value = (_MAX, 0)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DATABASE = re.compile(r'[^\0/\\. "$]{1,63}')
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_ALLOWED = {"shards": ("move_primary",), "collections": ("refine", "reshard")}


@dataclass(frozen=True)
class Range:
    """The documents from ``low`` (included) to ``high`` (excluded) belong to the shards of ``zone``; ``fields`` name the values."""

    zone: str
    fields: tuple[str, ...]
    low: Bound
    high: Bound

    def label(self) -> str:
        """Return the range for people."""
        return f"{self.zone}: {_words(self.low)} to {_words(self.high)}"


@dataclass(frozen=True)
class Shard:
    """One described shard. ``zones`` None: leave them. ``hosts`` are canonical; ``set_name`` empty when only the name was given."""

    name: str
    set_name: str = ""
    hosts: tuple[str, ...] = ()
    zones: frozenset[str] | None = None
    absent: bool = False
    allow: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        """Return what the server wants for a shard: set/host:port,host:port."""
        return f"{self.set_name}/{','.join(self.hosts)}"


@dataclass(frozen=True)
class Collection:
    """One described collection. ``ranges`` None: leave them. ``splits`` are where its first chunks are to begin."""

    database: str
    name: str
    key: Key
    unique: bool = False
    ranges: tuple[Range, ...] | None = None
    splits: tuple[Bound, ...] = ()
    initial_chunks: int | None = None
    presplit_zones: bool = False
    allow: frozenset[str] = frozenset()

    @property
    def namespace(self) -> str:
        """Return database.collection."""
        return f"{self.database}.{self.name}"


@dataclass(frozen=True)
class Balancer:
    """``running`` None, ``window`` None: leave them. An empty ``window`` means none, else (start, stop) as HH:MM of the servers' time."""

    running: bool | None = None
    window: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Desired:
    """The whole description."""

    shards: tuple[Shard, ...] = ()
    collections: tuple[Collection, ...] = ()
    balancer: Balancer = Balancer()


@dataclass(frozen=True)
class ShardSeen:
    """A shard as the cluster has it."""

    set_name: str
    hosts: tuple[str, ...]
    zones: frozenset[str] = frozenset()
    draining: bool = False


@dataclass(frozen=True)
class CollectionSeen:
    """A sharded collection as the cluster has it. ``starts`` are the lower bounds of its chunks, None when they were not read."""

    key: Key
    unique: bool = False
    starts: frozenset[Bound] | None = None


@dataclass(frozen=True)
class Observed:
    """What the cluster says. ``databases`` gives each one's primary shard; ``enabled`` are those a server before 6.0 may shard.

    ``enabled`` None: the server needs no enabling.
    """

    shards: Mapping[str, ShardSeen]
    databases: Mapping[str, str] = field(default_factory=dict)
    collections: Mapping[str, CollectionSeen] = field(default_factory=dict)
    ranges: Mapping[str, frozenset[Range]] = field(default_factory=dict)
    running: bool = True
    window: tuple[str, ...] = ()
    enabled: frozenset[str] | None = None


@dataclass(frozen=True)
class Step:
    """One command to the router. ``fields`` hold plain data; bounds are in extended JSON until they are sent.

    ``wait`` is set where the command is repeated: until the shard has no ``chunks``, or until it is ``gone``.
    """

    action: str
    target: str
    reason: str
    command: str
    value: Any
    database: str = "admin"
    fields: Mapping[str, Any] = field(default_factory=dict)
    wait: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        return {"action": self.action, "target": self.target, "reason": self.reason}


# ------------------------------------------------------------------------------------------------------------------------ reading


def parse_value(raw: object) -> Value:
    """Read one value of a bound: null, a number, text, true or false, or extended JSON.

    :raises ValueError: for anything else.
    """
    if raw is None:
        return (_NULL, 0)
    if isinstance(raw, bool):
        return (_BOOLEAN, raw)
    if isinstance(raw, (int, float)) and math.isfinite(raw):
        return (_NUMBER, int(raw) if float(raw).is_integer() and abs(raw) < 2**53 else raw)
    if isinstance(raw, str):
        return (_STRING, str(raw))
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((kind, value),) = raw.items()
        if kind in ("$minKey", "$maxKey") and value == 1:
            return MIN_KEY if kind == "$minKey" else MAX_KEY
        if kind == "$oid" and isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{24}", value):
            return (_OBJECT_ID, value.lower())
        if kind == "$numberLong" and isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value):
            return (_NUMBER, int(value))
        if kind == "$date" and isinstance(value, str):
            when = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
            if when.tzinfo is not None:
                return (_DATE, round((when - _EPOCH).total_seconds() * 1000))
    raise ValueError(f"{shown(raw)} is not a value of a bound")


def other_value(text: str) -> Value:
    """Return a value of a type that no description can have, as the cluster has it."""
    return (_OTHER, text)


def plain(value: Value) -> Any:
    """Return a value as extended JSON, as :func:`parse_value` reads it."""
    rank, inner = value
    if rank in (_MIN, _MAX):
        return {"$minKey" if rank == _MIN else "$maxKey": 1}
    if rank == _NULL:
        return None
    if rank == _OBJECT_ID:
        return {"$oid": inner}
    if rank == _DATE:
        return {"$date": (_EPOCH + datetime.timedelta(milliseconds=inner)).isoformat()}
    return inner


def parse_key(where: str, raw: object) -> Key:
    """Read a shard key: a list of single-entry mappings, or a mapping with exactly one field.

    :raises MongodbError: ``bad_keys``.
    """
    entries: list[object] = [raw] if isinstance(raw, Mapping) else list(raw) if isinstance(raw, (list, tuple)) else []
    key: list[tuple[str, Any]] = []
    for entry in entries:
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise MongodbError(
                "bad_keys",
                f"{where}: keys: {shown(entry)} is not one field with its kind; write [{{a: 1}}, {{b: hashed}}], the order counts.",
            )
        ((name, kind),) = entry.items()
        if not isinstance(name, str) or not name or name.startswith("$") or ".." in f".{name}.":
            raise MongodbError("bad_keys", f"{where}: keys: {shown(name)} is not the name of a field.")
        if isinstance(kind, bool) or kind not in (1, 1.0, "1", "hashed"):
            raise MongodbError("bad_keys", f"{where}: keys: {name} is {shown(kind)}; a shard key has 1 or hashed.")
        key.append((name, "hashed" if kind == "hashed" else 1))
    if not key:
        raise MongodbError("bad_keys", f"{where}: keys is empty or not a list of fields.")
    if len({name for name, _kind in key}) != len(key):
        raise MongodbError("bad_keys", f"{where}: keys names a field twice.")
    if sum(kind == "hashed" for _name, kind in key) > 1:
        raise MongodbError("bad_keys", f"{where}: keys has two hashed fields; a shard key has at most one.")
    return tuple(key)


def parse_bound(where: str, key: Key, raw: object) -> Bound:
    """Read a bound: values for the first fields of the key, in its order; the others begin at the smallest value, as the server does it.

    :raises MongodbError: ``bad_range``.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise MongodbError("bad_range", f"{where} = {shown(raw)} is not a mapping from fields of the shard key to values.")
    names = [name for name, _kind in key]
    if list(raw) != names[: len(raw)]:
        raise MongodbError("bad_range", f"{where} has {', '.join(map(str, raw))}; it needs the first fields of the key {_key_words(key)}.")
    values: list[Value] = []
    for name, kind in key:
        try:
            value = parse_value(raw[name]) if name in raw else MIN_KEY
        except ValueError as problem:
            raise MongodbError("bad_range", f"{where}: {name}: {problem}.") from None
        if kind == "hashed" and value[0] not in (_MIN, _NUMBER, _MAX):
            raise MongodbError("bad_range", f"{where}: {name} is hashed, so a bound is a whole number (of the hash), $minKey or $maxKey.")
        values.append(value)
    return tuple(values)


def parse_hosts(name: str, raw: str) -> tuple[str, tuple[str, ...]]:
    """Read ``set/host:port,host:port``.

    :raises MongodbError: ``bad_shard``.
    """
    set_name, slash, listed = raw.partition("/")
    if not slash or not set_name.strip() or not listed.strip():
        raise MongodbError("bad_shard", f"Shard {name}: shard = {raw!r} is not set/host:port,host:port; a shard is a replica set.")
    try:
        hosts = tuple(sorted(canonical_host(host) for host in listed.split(",")))
    except MongodbError as problem:
        raise MongodbError("bad_shard", f"Shard {name}: shard = {raw!r}: {problem.message}") from None
    if len(set(hosts)) != len(hosts):
        raise MongodbError("bad_shard", f"Shard {name}: shard = {raw!r} names a host twice.")
    return set_name.strip(), hosts


def parse_desired(params: Mapping[str, Any]) -> Desired:
    """Read and check the options ``shards``, ``collections``, ``balancer_state`` and ``window``.

    :raises MongodbError: ``bad_shard``, ``duplicate_shard``, ``bad_zone``, ``bad_namespace``, ``bad_keys``, ``bad_range``, ``bad_split``,
        ``overlapping_ranges``, ``duplicate_collection``, ``bad_allow`` or ``bad_window``.
    """
    shards = tuple(_shard(entry) for entry in params.get("shards") or ())
    collections = tuple(_collection(entry) for entry in params.get("collections") or ())
    for code, what, names in (
        ("duplicate_shard", "Shard", [shard.name for shard in shards]),
        ("duplicate_shard", "Replica set", [shard.set_name for shard in shards if shard.set_name]),
        ("duplicate_collection", "Collection", [collection.namespace for collection in collections]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise MongodbError(code, f"{what} {', '.join(twice)} is listed more than once.")
    state = params.get("balancer_state")
    desired = Desired(shards, collections, Balancer(None if state is None else state == "started", _window(params.get("window"))))
    if state == "stopped" and any(shard.absent for shard in shards):
        raise MongodbError(
            "drain_needs_balancer", "balancer_state = stopped, and a shard is to leave: only the balancer moves its chunks away."
        )
    return desired


def _shard(entry: Mapping[str, Any]) -> Shard:
    name, address, zones = entry.get("name") or "", entry.get("shard") or "", entry.get("zones")
    absent = entry.get("state") == "absent"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or name == "config":
        raise MongodbError("bad_shard", f"Shard {name!r}: a name of letters, digits and _.- is needed, and config is taken.")
    if not address and not absent:
        raise MongodbError("bad_shard", f"Shard {name}: shard is missing (set/host:port,host:port).")
    for zone in zones or ():
        if not isinstance(zone, str) or not zone.strip():
            raise MongodbError("bad_zone", f"Shard {name}: zones: {shown(zone)} is not the name of a zone.")
    if absent and zones:
        raise MongodbError("bad_zone", f"Shard {name}: zones of a shard that is to leave.")
    set_name, hosts = parse_hosts(name, address) if address else ("", ())
    allow = _allow("shards", f"Shard {name}", entry)
    return Shard(name, set_name, hosts, None if zones is None else frozenset(zones), absent, allow)


def _collection(entry: Mapping[str, Any]) -> Collection:
    database, name = entry.get("database") or "", entry.get("collection") or ""
    where = f"{database}.{name}"
    if not _DATABASE.fullmatch(database) or database in ("admin", "config", "local"):
        raise MongodbError("bad_namespace", f"{where}: database {database!r} is not one whose collections can be sharded.")
    if not name or "$" in name or "\0" in name or name.startswith(("system.", ".")) or name.endswith(".") or len(where.encode()) > 235:
        raise MongodbError("bad_namespace", f"{where}: {name!r} is not the name of a collection that can be sharded.")
    key = parse_key(where, entry.get("keys"))
    hashed = any(kind == "hashed" for _name, kind in key)
    unique = bool(entry.get("unique"))
    if unique and hashed:
        raise MongodbError("bad_keys", f"{where}: unique with a hashed key: the server cannot keep hashes unique.")
    raw = entry.get("zones")
    ranges = None if raw is None else _ranges(where, key, raw)
    splits = tuple(
        parse_bound(f"{where}: split_points[{place}]", key, point) for place, point in enumerate(entry.get("split_points") or ())
    )
    chunks, presplit = entry.get("num_initial_chunks"), bool(entry.get("presplit_hashed_zones"))
    if chunks is not None and (key[0][1] != "hashed" or not 1 <= chunks <= 8192):
        raise MongodbError(
            "bad_split", f"{where}: num_initial_chunks is 1 to 8192 and for a key that begins with a hashed field; use split_points."
        )
    if splits and key[0][1] == "hashed":
        raise MongodbError("bad_split", f"{where}: split_points of a hashed key; use num_initial_chunks.")
    if len(set(splits)) != len(splits) or any(point == (MIN_KEY,) * len(key) for point in splits):
        raise MongodbError("bad_split", f"{where}: split_points names a point twice, or the smallest value, where a chunk begins anyway.")
    if presplit and (not hashed or not ranges):
        raise MongodbError("bad_split", f"{where}: presplit_hashed_zones needs a hashed field in keys, and zones.")
    return Collection(database, name, key, unique, ranges, tuple(sorted(splits)), chunks, presplit, _allow("collections", where, entry))


def _allow(kind: str, where: str, entry: Mapping[str, Any]) -> frozenset[str]:
    for word in entry.get("allow") or ():
        if word not in _ALLOWED[kind]:
            raise MongodbError(
                "bad_allow", f"{where}: allow: {shown(word)} is not one of {', '.join(_ALLOWED[kind])}{closest(str(word), _ALLOWED[kind])}."
            )
    return frozenset(entry.get("allow") or ())


def _ranges(where: str, key: Key, raw: Iterable[Mapping[str, Any]]) -> tuple[Range, ...]:
    ranges: list[Range] = []
    for place, entry in enumerate(raw):
        here = f"{where}: zones[{place}]"
        zone = entry.get("zone")
        if not isinstance(zone, str) or not zone.strip():
            raise MongodbError("bad_zone", f"{here}: zone = {shown(zone)} is not the name of a zone.")
        one = Range(
            zone,
            tuple(name for name, _kind in key),
            parse_bound(f"{here}.min", key, entry.get("min")),
            parse_bound(f"{here}.max", key, entry.get("max")),
        )
        if one.low >= one.high:
            raise MongodbError("bad_range", f"{here}: min {_words(one.low)} is not below max {_words(one.high)}.")
        ranges.append(one)
    ranges.sort(key=lambda one: one.low)
    for first, second in itertools.pairwise(ranges):
        if second.low < first.high:
            raise MongodbError("overlapping_ranges", f"{where}: the ranges {first.label()} and {second.label()} overlap.")
    return tuple(ranges)


def _window(raw: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    if raw is None:
        return None
    start, stop = raw.get("start"), raw.get("stop")
    if raw.get("state") == "absent":
        return ()
    for name, value in (("start", start), ("stop", stop)):
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise MongodbError("bad_window", f"window: {name} = {shown(value)} is not a time of day as HH:MM (quote it in YAML).")
    if start == stop:
        raise MongodbError("bad_window", f"window: start and stop are both {start}; the balancer would never run.")
    return (str(start), str(stop))


# ----------------------------------------------------------------------------------------------------------------------- planning


def plan(desired: Desired, observed: Observed) -> list[Step]:
    """Return the steps from ``observed`` to ``desired``; empty when there is nothing to do.

    :raises MongodbError: ``shard_name_taken``, ``shard_known_as``, ``shard_is_leaving``, ``last_shard``, ``drain_needs_balancer``,
        ``shard_is_primary``, ``zone_without_shard``, ``ranges_of_other_key``, ``reshard_not_allowed``, ``refine_not_allowed``,
        ``reshard_needs_zones`` or ``unique_differs``.
    """
    _refuse_shards(desired, observed)
    _refuse_zones(desired, observed)
    steps = [*_balancer_steps(desired.balancer, observed), *_joining(desired, observed)]
    enabled = observed.enabled
    for collection in desired.collections:
        if enabled is not None and collection.database not in enabled and collection.namespace not in observed.collections:
            enabled |= {collection.database}
            words = f"let collections of {collection.database} be sharded"
            steps.append(Step("enable_sharding", collection.database, words, "enableSharding", collection.database))
        steps += _collection_steps(collection, observed)
    for shard in desired.shards:
        seen = observed.shards.get(shard.name)
        for zone in sorted(seen.zones - shard.zones) if seen and shard.zones is not None else ():
            words = f"take shard {shard.name} out of zone {zone}"
            steps.append(Step("remove_zone", shard.name, words, "removeShardFromZone", shard.name, fields={"zone": zone}))
    return [*steps, *_leaving(desired, observed)]


def _balancer_steps(balancer: Balancer, observed: Observed) -> Iterator[Step]:
    if balancer.window is not None and balancer.window != observed.window:
        if balancer.window:
            change: dict[str, Any] = {"$set": {"activeWindow": {"start": balancer.window[0], "stop": balancer.window[1]}}}
            words = f"let the balancer run from {balancer.window[0]} to {balancer.window[1]} only"
        else:
            change, words = {"$unset": {"activeWindow": ""}}, "let the balancer run at any time of day"
        update = [{"q": {"_id": "balancer"}, "u": change, "upsert": True}]
        fields = {"updates": update, "writeConcern": {"w": "majority", "wtimeout": 30000}}
        yield Step("set_window", "balancer", words, "update", "settings", "config", fields)
    if balancer.running is not None and balancer.running != observed.running:
        words = "start the balancer" if balancer.running else "stop the balancer"
        yield Step("set_balancer", "balancer", words, "balancerStart" if balancer.running else "balancerStop", 1)


def _joining(desired: Desired, observed: Observed) -> Iterator[Step]:
    for shard in desired.shards:
        if not shard.absent and shard.name not in observed.shards:
            yield Step(
                "add_shard",
                shard.name,
                f"add {shard.address} as shard {shard.name}",
                "addShard",
                shard.address,
                fields={"name": shard.name},
            )
    for shard in desired.shards:
        seen = observed.shards.get(shard.name)
        for zone in sorted((shard.zones or frozenset()) - (seen.zones if seen else frozenset())):
            yield Step(
                "add_zone", shard.name, f"put shard {shard.name} into zone {zone}", "addShardToZone", shard.name, fields={"zone": zone}
            )


def _collection_steps(collection: Collection, observed: Observed) -> Iterator[Step]:
    seen = observed.collections.get(collection.namespace)
    there = observed.ranges.get(collection.namespace, frozenset())
    wanted = there if collection.ranges is None else frozenset(collection.ranges)
    if seen is None:
        names = tuple(name for name, _kind in collection.key)
        strangers = [one for one in there & wanted if one.fields != names[: len(one.fields)]]
        if strangers:
            raise MongodbError(
                "ranges_of_other_key",
                f"{collection.namespace} is not sharded yet and has ranges of {', '.join(strangers[0].fields)}, which the key "
                f"{_key_words(collection.key)} does not begin with: describe its zones ([] for none).",
            )
        # The ranges come first: the server makes the first chunks where they say.
        yield from _range_steps(collection, there - wanted, wanted - there)
        yield _shard_step(collection)
        yield from _missing_splits(collection, frozenset())
        return
    if seen.unique != collection.unique:
        raise MongodbError(
            "unique_differs",
            f"{collection.namespace}: the shard key is unique = {str(seen.unique).lower()} in the cluster, and no server changes that.",
        )
    if seen.key == collection.key:
        yield from _range_steps(collection, there - wanted, wanted - there)
        yield from _missing_splits(collection, seen.starts)
        return
    how = f"{collection.namespace}: the shard key is {_key_words(seen.key)}, described is {_key_words(collection.key)}"
    if collection.key[: len(seen.key)] == seen.key and all(kind == 1 for _name, kind in collection.key):
        if "refine" not in collection.allow:
            raise MongodbError("refine_not_allowed", f"{how}. More fields can be added for good only: say so with allow: [refine].")
        yield Step(
            "refine_key",
            collection.namespace,
            f"{how}: add fields",
            "refineCollectionShardKey",
            collection.namespace,
            fields={"key": dict(collection.key)},
        )
        # The server gives each bound the smallest value for a new field.
        names = tuple(name for name, _kind in collection.key[len(seen.key) :])
        more = (MIN_KEY,) * len(names)
        grown = frozenset(Range(one.zone, one.fields + names, one.low + more, one.high + more) for one in there)
        wanted = grown if collection.ranges is None else wanted
        yield from _range_steps(collection, grown - wanted, wanted - grown)
        yield from _missing_splits(collection, None if seen.starts is None else frozenset(start + more for start in seen.starts))
        return
    if "reshard" not in collection.allow:
        raise MongodbError("reshard_not_allowed", f"{how}. Resharding copies the whole collection: say so with allow: [reshard].")
    if collection.unique:
        raise MongodbError("reshard_not_allowed", f"{how}. The key is unique, and the server reshards no collection with a unique key.")
    if collection.ranges is None and there:
        raise MongodbError(
            "reshard_needs_zones", f"{how}, and its zone ranges are for the old key: describe zones for the new one ([] for none)."
        )
    yield from _range_steps(collection, there, frozenset())
    fields: dict[str, Any] = {"key": dict(collection.key), "unique": collection.unique, "collation": {"locale": "simple"}}
    if collection.ranges:
        fields["zones"] = [{"zone": one.zone, **_bounds(one)} for one in collection.ranges]
    if collection.initial_chunks is not None:
        fields["numInitialChunks"] = collection.initial_chunks
    yield Step("reshard", collection.namespace, f"{how}: reshard it", "reshardCollection", collection.namespace, fields=fields)
    yield from _missing_splits(collection, frozenset())


def _shard_step(collection: Collection) -> Step:
    fields: dict[str, Any] = {"key": dict(collection.key), "unique": collection.unique, "collation": {"locale": "simple"}}
    if collection.initial_chunks is not None:
        fields["numInitialChunks"] = collection.initial_chunks
    if collection.presplit_zones:
        fields["presplitHashedZones"] = True
    words = f"shard {collection.namespace} by {_key_words(collection.key)}"
    return Step("shard_collection", collection.namespace, words, "shardCollection", collection.namespace, fields=fields)


def _missing_splits(collection: Collection, starts: frozenset[Bound] | None) -> Iterator[Step]:
    for point in collection.splits:
        if starts is not None and point not in starts:
            words = f"begin a chunk of {collection.namespace} at {_words(point)}"
            fields = {"middle": _bound([name for name, _kind in collection.key], point)}
            yield Step("split", collection.namespace, words, "split", collection.namespace, fields=fields)


def _range_steps(collection: Collection, gone: Iterable[Range], new: Iterable[Range]) -> Iterator[Step]:
    for one in sorted(gone, key=lambda one: one.low):
        words = f"{collection.namespace}: documents of {one.label()} may be on any shard"
        fields = {**_bounds(one), "zone": None}
        yield Step("remove_range", collection.namespace, words, "updateZoneKeyRange", collection.namespace, fields=fields)
    for one in sorted(new, key=lambda one: one.low):
        words = f"{collection.namespace}: documents belong to zone {one.label()}"
        fields = {**_bounds(one), "zone": one.zone}
        yield Step("add_range", collection.namespace, words, "updateZoneKeyRange", collection.namespace, fields=fields)


def _leaving(desired: Desired, observed: Observed) -> Iterator[Step]:
    staying = _staying(desired, observed)
    homes = {name: sum(primary == name for primary in observed.databases.values()) for name in staying}
    for shard in desired.shards:
        seen = observed.shards.get(shard.name)
        if not shard.absent or seen is None:
            continue
        if not seen.draining:
            yield Step("drain_shard", shard.name, f"begin to drain shard {shard.name}", "removeShard", shard.name)
        databases = sorted(name for name, primary in observed.databases.items() if primary == shard.name)
        if databases:
            # The server wants the chunks gone before the databases; without any, it goes on to the removal by itself.
            yield Step("wait_drained", shard.name, f"wait until shard {shard.name} has no chunks", "removeShard", shard.name, wait="chunks")
        for database in databases:
            home = min(homes, key=lambda name: (homes[name], name))
            homes[home] += 1
            words = f"make {home} the primary shard of {database}, in place of {shard.name}"
            yield Step("move_primary", database, words, "movePrimary", database, fields={"to": home})
        yield Step("remove_shard", shard.name, f"remove shard {shard.name} when it is empty", "removeShard", shard.name, wait="gone")


def _staying(desired: Desired, observed: Observed) -> list[str]:
    """Return the shards that will be there in the end and take data all the time, the new ones included."""
    leaving = {shard.name for shard in desired.shards if shard.absent}
    present = [shard.name for shard in desired.shards if not shard.absent]
    seen = [name for name, shard in observed.shards.items() if name not in leaving and not shard.draining]
    return sorted({*present, *seen})


def _refuse_shards(desired: Desired, observed: Observed) -> None:
    sets = {seen.set_name: name for name, seen in observed.shards.items()}
    for shard in desired.shards:
        seen = observed.shards.get(shard.name)
        if shard.set_name and seen is not None and seen.set_name != shard.set_name:
            raise MongodbError(
                "shard_name_taken", f"Shard {shard.name} is replica set {seen.set_name} in the cluster, not {shard.set_name}."
            )
        known = sets.get(shard.set_name, shard.name)
        if shard.set_name and known != shard.name:
            raise MongodbError(
                "shard_known_as", f"Replica set {shard.set_name} is in the cluster already, as shard {known}, not {shard.name}."
            )
        if not shard.absent and seen is not None and seen.draining:
            raise MongodbError(
                "shard_is_leaving", f"Shard {shard.name} is being drained, and no server stops that: let it leave, then add it again."
            )
    leaving = [shard for shard in desired.shards if shard.absent and shard.name in observed.shards]
    if leaving and not _staying(desired, observed):
        raise MongodbError("last_shard", f"No shard would be left to take the data of {', '.join(shard.name for shard in leaving)}.")
    if leaving and not observed.running and desired.balancer.running is None:
        raise MongodbError(
            "drain_needs_balancer", f"The balancer is stopped, so {leaving[0].name} would never be drained: set balancer_state: started."
        )
    for shard in leaving:
        databases = sorted(name for name, primary in observed.databases.items() if primary == shard.name)
        if databases and "move_primary" not in shard.allow:
            raise MongodbError(
                "shard_is_primary",
                f"Shard {shard.name} is the primary shard of {', '.join(databases)}. Moving that stops writes to collections that are not "
                "sharded for a while: say so with allow: [move_primary].",
            )


def _refuse_zones(desired: Desired, observed: Observed) -> None:
    """Refuse a goal in which a range belongs to a zone that no shard is in: its documents would have no home."""
    described = {shard.name: shard for shard in desired.shards}
    carried: set[str] = set()
    for name in _staying(desired, observed):
        shard, seen = described.get(name), observed.shards.get(name)
        if shard is not None and shard.zones is not None:
            carried |= shard.zones
        elif seen is not None:
            carried |= seen.zones
    ranges = {namespace: frozenset(there) for namespace, there in observed.ranges.items()}
    ranges |= {one.namespace: frozenset(one.ranges) for one in desired.collections if one.ranges is not None}
    for namespace in sorted(ranges):
        for zone in sorted({one.zone for one in ranges[namespace]} - carried):
            raise MongodbError(
                "zone_without_shard",
                f"{namespace} has a range of zone {zone}, and no shard that stays is in that zone{closest(zone, carried)}.",
            )


# ------------------------------------------------------------------------------------------------------------------------ showing


def picture(desired: Desired, observed: Observed, steps: Sequence[Step]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (before, after) of what is described as plain data for a diff."""
    before: dict[str, Any] = {"shards": {}, "collections": {}, "balancer": _balancer_words(observed.running, observed.window)}
    after: dict[str, Any] = {"shards": {}, "collections": {}}
    for shard in desired.shards:
        seen = observed.shards.get(shard.name)
        if seen is not None:
            before["shards"][shard.name] = {"set": seen.set_name, "zones": sorted(seen.zones), "draining": seen.draining}
        if not shard.absent:
            zones = shard.zones if shard.zones is not None else seen.zones if seen else frozenset()
            after["shards"][shard.name] = {"set": shard.set_name, "zones": sorted(zones), "draining": False}
    touched = {step.target for step in steps}
    for collection in desired.collections:
        sharded, there = observed.collections.get(collection.namespace), observed.ranges.get(collection.namespace, frozenset())
        old = _collection_words(sharded.key, sharded.unique, there) if sharded else None
        if old is not None:
            before["collections"][collection.namespace] = old
        ranges = frozenset(collection.ranges) if collection.ranges is not None else there
        new = _collection_words(collection.key, collection.unique, ranges)
        after["collections"][collection.namespace] = new if collection.namespace in touched or old is None else old
    running = observed.running if desired.balancer.running is None else desired.balancer.running
    window = observed.window if desired.balancer.window is None else desired.balancer.window
    after["balancer"] = _balancer_words(running, window)
    return before, after


def _balancer_words(running: bool, window: tuple[str, ...]) -> dict[str, Any]:
    return {"running": running, "window": " to ".join(window)}


def _collection_words(key: Key, unique: bool, ranges: Iterable[Range]) -> dict[str, Any]:
    return {"keys": _key_words(key), "unique": unique, "zones": [one.label() for one in sorted(ranges, key=lambda one: one.low)]}


def _bound(names: Sequence[str], bound: Bound) -> dict[str, Any]:
    return {name: plain(value) for name, value in zip(names, bound, strict=True)}


def _bounds(one: Range) -> dict[str, Any]:
    return {"min": _bound(one.fields, one.low), "max": _bound(one.fields, one.high)}


def _key_words(key: Key) -> str:
    return "{" + ", ".join(f"{name}: {kind}" for name, kind in key) + "}"


def _words(bound: Bound) -> str:
    def word(value: Value) -> str:
        if value in (MIN_KEY, MAX_KEY):
            return "smallest" if value == MIN_KEY else "largest"
        return shown(value[1]) if value[0] == _STRING else str(plain(value))

    parts = [word(value) for value in bound]
    while len(parts) > 1 and parts[-1] == "smallest":
        parts.pop()
    return "/".join(parts)
