"""A modelled sharded cluster, and a router that speaks MongoDB's wire protocol for it.

No mongos can run where these tests do. The model keeps what a router knows, refuses what a server refuses (by the server's manual), and
notes every command. Only what linda.ops.mongodb_sharding sends is there; anything else is an unknown command, as it would be to a server.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import bson
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import CommandError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_sharding_plan import parse_desired, plan
from ansible_collections.linda.ops.plugins.modules.mongodb_sharding import carry_out, observe
from bson import Int64, MaxKey, MinKey, ObjectId
from checks_support import Leaf, serving, tls_context

READING = frozenset({"hello", "ismaster", "isMaster", "ping", "find", "getMore", "listShards", "endSessions"})
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013


DESCRIPTION: dict[str, Any] = {
    "shards": [
        {"name": "one", "shard": "one/h1:27018,h2:27018", "zones": ["eu"]},
        {"name": "two", "shard": "two/h3:27018", "zones": []},
    ],
    "collections": [
        {"database": "linda", "collection": "messages", "keys": [{"user_id": "hashed"}], "num_initial_chunks": 8},
        {
            "database": "linda",
            "collection": "entities",
            "keys": [{"owner": 1}, {"seen": 1}],
            "split_points": [{"owner": {"$oid": "5" * 24}}],
            "zones": [{"zone": "eu", "min": {"owner": {"$minKey": 1}}, "max": {"owner": {"$oid": "8" * 24}}}],
        },
    ],
    "balancer_state": "started",
    "window": {"start": "01:00", "stop": "05:00"},
}


class RefusedError(Exception):
    """The server's answer to a command it does not carry out."""

    def __init__(self, number: int, name: str, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.name = name


@dataclass
class Model:
    """What a router knows. `chunks` counts them by collection and shard; `pace` is how many leave a draining shard between two looks."""

    shards: dict[str, dict[str, Any]] = field(default_factory=dict)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    starts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tags: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    chunks: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    wire: int = 17
    pace: int = 3
    is_router: bool = True
    refuse_next: set[str] = field(default_factory=set)
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, document: Mapping[str, Any], database: str) -> dict[str, Any]:
        """The answer to one command; raises RefusedError."""
        name = next(iter(document))
        self.commands.append((name, copy.deepcopy(dict(document))))
        handler: Callable[[Any, Mapping[str, Any], str], dict[str, Any]] | None = getattr(self, f"_{name.lower()}", None)
        if name in self.refuse_next:
            self.refuse_next.discard(name)
            raise RefusedError(11600, "InterruptedAtShutdown", "interrupted at shutdown")
        if handler is None:
            raise RefusedError(59, "CommandNotFound", f"no such command: '{name}'")
        return handler(document[name], document, database)

    def sent(self) -> list[str]:
        return [name for name, _document in self.commands]

    # ---------------------------------------------------------------------------------------------------------------- reading

    def _hello(self, _value: Any, _more: Any, _database: str) -> dict[str, Any]:
        answer = {"isWritablePrimary": True, "ismaster": True, "helloOk": True, "maxWireVersion": self.wire, "minWireVersion": 0}
        return answer | {"maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000} | (
            {"msg": "isdbgrid"} if self.is_router else {}
        )  # fmt: skip

    _ismaster = _hello

    def _ping(self, _value: Any, _more: Any, _database: str) -> dict[str, Any]:
        return {}

    _endsessions = _ping

    def _listshards(self, _value: Any, _more: Any, database: str) -> dict[str, Any]:
        self._admin(database)
        return {"shards": [{"_id": name, **shard} for name, shard in self.shards.items()]}

    def _find(self, collection: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        assert database == "config"
        documents = {
            "databases": [{"_id": name, **one} for name, one in self.databases.items()],
            "collections": [{"_id": name, **one} for name, one in self.collections.items()],
            "tags": [{"_id": ObjectId(), "ns": namespace, **one} for namespace, tags in self.tags.items() for one in tags],
            "settings": [{"_id": name, **one} for name, one in self.settings.items()],
            "chunks": [
                {"uuid": self.collections[namespace]["uuid"], "min": start} for namespace, starts in self.starts.items() for start in starts
            ],
        }[collection]
        found = [one for one in documents if all(_fits(one.get(name), wanted) for name, wanted in more["filter"].items())]
        for one in found:
            if "projection" in more:
                one.pop("uuid", None)
        # In two batches, so that the second is asked for.
        self._rest, first = found[1:], found[:1]
        return {"cursor": {"id": Int64(bool(self._rest)), "ns": f"config.{collection}", "firstBatch": first}}

    def _getmore(self, cursor: int, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        assert (cursor, database) == (1, "config")
        return {"cursor": {"id": Int64(0), "ns": f"config.{more['collection']}", "nextBatch": self._rest}}

    # ---------------------------------------------------------------------------------------------------------------- writing

    def _admin(self, database: str) -> None:
        if database != "admin":
            raise RefusedError(13, "Unauthorized", "may only be run against the admin database")

    def _shard(self, name: str) -> dict[str, Any]:
        if name not in self.shards:
            raise RefusedError(70, "ShardNotFound", f"shard {name} does not exist")
        return self.shards[name]

    def _staying(self) -> list[str]:
        return [name for name, shard in self.shards.items() if not shard.get("draining")]

    def _addshard(self, address: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        assert "/" in address
        if more["name"] in self.shards or any(shard["host"].split("/")[0] == address.split("/")[0] for shard in self.shards.values()):
            raise RefusedError(20, "IllegalOperation", "shard exists with another name or host")
        self.shards[more["name"]] = {"host": address, "state": 1}
        return {"shardAdded": more["name"]}

    def _addshardtozone(self, name: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        shard = self._shard(name)
        shard["tags"] = sorted({*shard.get("tags", []), more["zone"]})
        return {}

    def _removeshardfromzone(self, name: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        shard = self._shard(name)
        others = [one for other, one in self.shards.items() if other != name and more["zone"] in one.get("tags", [])]
        used = any(one["tag"] == more["zone"] for tags in self.tags.values() for one in tags)
        if used and not others:
            raise RefusedError(203, "ZoneStillInUse", f"cannot remove shard {name} from zone {more['zone']}: ranges need it")
        shard["tags"] = [zone for zone in shard.get("tags", []) if zone != more["zone"]]
        return {}

    def _updatezonekeyrange(self, namespace: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        tags, low, high = self.tags.setdefault(namespace, []), _order(more["min"]), _order(more["max"])
        if more["zone"] is None:
            self.tags[namespace] = [one for one in tags if (_order(one["min"]), _order(one["max"])) != (low, high)]
            return {}
        if not any(more["zone"] in shard.get("tags", []) for shard in self.shards.values()):
            raise RefusedError(61, "ZoneNotFound", f"zone {more['zone']} does not exist")
        if low >= high or any(low < _order(one["max"]) and _order(one["min"]) < high for one in tags):
            raise RefusedError(178, "RangeOverlapConflict", "the range overlaps another")
        if namespace in self.collections and list(more["min"]) != list(self.collections[namespace]["key"]):
            raise RefusedError(61, "ShardKeyNotFound", "the range is not of the shard key")
        tags.append({"tag": more["zone"], "min": dict(more["min"]), "max": dict(more["max"])})
        return {}

    def _enablesharding(self, name: str, _more: Any, database: str) -> dict[str, Any]:
        self._admin(database)
        self.databases.setdefault(name, {"primary": self._staying()[0]})["partitioned"] = True
        return {}

    def _shardcollection(self, namespace: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        name = namespace.partition(".")[0]
        if self.wire < 17 and not self.databases.get(name, {}).get("partitioned"):
            raise RefusedError(20, "IllegalOperation", f"sharding not enabled for db {name}")
        if namespace in self.collections:
            raise RefusedError(23, "AlreadyInitialized", "sharding already enabled for collection")
        self._ranges_fit(namespace, more["key"])
        self.databases.setdefault(name, {"primary": self._staying()[0]})
        self.collections[namespace] = {"key": dict(more["key"]), "unique": bool(more.get("unique")), "uuid": ObjectId()}
        self._first_chunks(namespace)
        self.chunks[namespace] = dict.fromkeys(self._staying(), 2)
        return {"collectionsharded": namespace}

    def _first_chunks(self, namespace: str) -> None:
        """One chunk, and where there are zones those that begin and end with them."""
        smallest = dict.fromkeys(self.collections[namespace]["key"], MinKey())
        bounds = [{**smallest, **bound} for one in self.tags.get(namespace, []) for bound in (one["min"], one["max"])]
        self.starts[namespace] = [smallest, *(bound for place, bound in enumerate(bounds) if bound not in bounds[:place])]

    def _ranges_fit(self, namespace: str, key: Mapping[str, Any]) -> None:
        for one in self.tags.get(namespace, []):
            if list(one["min"]) != list(key)[: len(one["min"])]:
                raise RefusedError(72, "InvalidOptions", "zone ranges are not of the shard key")

    def _split(self, namespace: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        if list(more["middle"]) != list(self.collections[namespace]["key"]):
            raise RefusedError(2, "BadValue", "the point is not of the shard key")
        if dict(more["middle"]) in self.starts[namespace]:
            raise RefusedError(96, "OperationFailed", f"new split key {more['middle']} is a boundary key of existing chunk")
        self.starts[namespace].append(dict(more["middle"]))
        return {}

    def _reshardcollection(self, namespace: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        if self.tags.get(namespace) and not more.get("zones"):
            raise RefusedError(72, "InvalidOptions", "zones must be given: the collection has some")
        self.collections[namespace] |= {"key": dict(more["key"]), "uuid": ObjectId()}
        self.tags[namespace] = [{"tag": one["zone"], "min": dict(one["min"]), "max": dict(one["max"])} for one in more.get("zones", [])]
        self._first_chunks(namespace)
        return {}

    def _refinecollectionshardkey(self, namespace: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        old, new = self.collections[namespace]["key"], dict(more["key"])
        if list(new.items())[: len(old)] != list(old.items()):
            raise RefusedError(72, "InvalidOptions", "the new key does not begin with the old one")
        added = {name: MinKey() for name in new if name not in old}
        self.collections[namespace]["key"] = new
        for one in self.tags.get(namespace, []):
            one["min"], one["max"] = {**one["min"], **added}, {**one["max"], **added}
        self.starts[namespace] = [{**start, **added} for start in self.starts.get(namespace, [])]
        return {}

    def _moveprimary(self, name: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        self._admin(database)
        if self._shard(more["to"]).get("draining"):
            raise RefusedError(20, "IllegalOperation", "the shard is draining")
        self.databases[name]["primary"] = more["to"]
        return {}

    def _removeshard(self, name: str, _more: Any, database: str) -> dict[str, Any]:
        self._admin(database)
        shard = self._shard(name)
        if not shard.get("draining"):
            if self._staying() == [name]:
                raise RefusedError(20, "IllegalOperation", "can't remove the last shard")
            shard["draining"] = True
            return {"state": "started", "shard": name, "dbsToMove": self._homes(name)}
        if not self.settings.get("balancer", {}).get("stopped"):
            left = self.pace
            for chunks in self.chunks.values():
                moved = min(left, chunks.get(name, 0))
                chunks[name] = chunks.get(name, 0) - moved
                chunks[self._staying()[0]] = chunks.get(self._staying()[0], 0) + moved
                left -= moved
        remaining = sum(chunks.get(name, 0) for chunks in self.chunks.values())
        if remaining or self._homes(name):
            dbs = self._homes(name)
            return {"state": "ongoing", "remaining": {"chunks": Int64(remaining), "dbs": Int64(len(dbs))}, "dbsToMove": dbs}
        del self.shards[name]
        return {"state": "completed", "shard": name}

    def _homes(self, name: str) -> list[str]:
        return sorted(database for database, one in self.databases.items() if one["primary"] == name)

    def _balancerstart(self, _value: Any, _more: Any, database: str) -> dict[str, Any]:
        self._admin(database)
        self.settings.setdefault("balancer", {}).update(mode="full", stopped=False)
        return {}

    def _balancerstop(self, _value: Any, _more: Any, database: str) -> dict[str, Any]:
        self._admin(database)
        self.settings.setdefault("balancer", {}).update(mode="off", stopped=True)
        return {}

    def _update(self, collection: str, more: Mapping[str, Any], database: str) -> dict[str, Any]:
        assert (database, collection) == ("config", "settings")
        (update,) = more["updates"]
        assert more["writeConcern"]["w"] == "majority"
        document = self.settings.setdefault(update["q"]["_id"], {})
        document.update(update["u"].get("$set", {}))
        for name in update["u"].get("$unset", {}):
            document.pop(name, None)
        return {"n": 1, "nModified": 1}


def _fits(value: Any, wanted: Any) -> bool:
    return value in wanted["$in"] if isinstance(wanted, Mapping) else value == wanted


def _order(bound: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """A bound as something that compares as the server compares; for the types that the tests use."""

    def place(value: Any) -> tuple[int, Any]:
        if isinstance(value, (MinKey, MaxKey)):
            return (0 if isinstance(value, MinKey) else 99, 0)
        return (2, value) if isinstance(value, (int, float)) else (3, value) if isinstance(value, str) else (7, str(value))

    return [place(value) for value in bound.values()]


class LocalLink:
    """The model without a wire, for what linda.ops.mongodb_sharding takes for a connection."""

    host = "model:27017"

    def __init__(self, model: Model) -> None:
        self.model = model

    def command(self, name: str, value: Any = 1, /, database: str = "admin", **fields: Any) -> dict[str, Any]:
        try:
            return self.model.answer({name: value, **fields}, database)
        except RefusedError as refused:
            raise CommandError("command_failed", str(refused), refused.number) from None


def cluster(more_shards: list[dict[str, Any]] | None = None) -> Model:
    """A cluster as the description makes it."""
    model = Model()
    link = LocalLink(model)
    desired = parse_desired({**DESCRIPTION, "shards": [*DESCRIPTION["shards"], *(more_shards or [])]})
    for step in plan(desired, observe(link, desired, link.command("hello"))):  # type: ignore[arg-type]
        carry_out(link, step, [], 5, 0)  # type: ignore[arg-type]
    model.commands.clear()
    return model


@contextlib.contextmanager
def router(model: Model, leaf: Leaf | None = None) -> Iterator[int]:
    """Serve the model on a port of loopback, with TLS when a certificate is given; yields the port."""
    numbers = itertools.count(1)

    def talk(connection: socket.socket) -> None:
        while True:
            head = _exactly(connection, 16)
            if head is None:
                return
            length, request, _to, code = struct.unpack("<iiii", head)
            body = _exactly(connection, length - 16) or b""
            connection.sendall(_reply(model, next(numbers), request, code, body))

    def one(connection: socket.socket) -> None:
        if leaf is None:
            talk(connection)
            return
        with tls_context(leaf).wrap_socket(connection, server_side=True) as secured:
            talk(secured)

    with serving(one) as port:
        yield port


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


def _reply(model: Model, number: int, request: int, code: int, body: bytes) -> bytes:
    """One message of the wire protocol: drivers greet in OP_QUERY and go on in OP_MSG."""
    if code == _OP_QUERY:
        end = body.index(b"\0", 4)
        document = bson.decode(body[end + 9 :])
        payload = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(_answer(model, document, "admin"))
        return struct.pack("<iiii", 16 + len(payload), number, request, _OP_REPLY) + payload
    assert code == _OP_MSG
    (flags,) = struct.unpack("<I", body[:4])
    assert not flags & ~0x10000, "a checksum or an unanswered message is not expected"
    document, position = {}, 4
    while position < len(body):
        kind, size = body[position], struct.unpack("<i", body[position + 1 : position + 5])[0]
        part = body[position + 1 : position + 1 + size]
        if kind == 0:
            document = {**bson.decode(part), **document}
        else:
            end = part.index(b"\0", 4)
            document[part[4:end].decode()] = bson.decode_all(part[end + 1 :])
        position += 1 + size
    payload = struct.pack("<IB", 0, 0) + bson.encode(_answer(model, document, str(document.get("$db"))))
    return struct.pack("<iiii", 16 + len(payload), number, request, _OP_MSG) + payload


def _answer(model: Model, document: Mapping[str, Any], database: str) -> dict[str, Any]:
    try:
        return {**model.answer(document, database), "ok": 1.0}
    except RefusedError as refused:
        return {"ok": 0.0, "errmsg": str(refused), "code": refused.number, "codeName": refused.name}
