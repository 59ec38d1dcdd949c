"""Messages in MongoDB: written durably, read back as they were acknowledged."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, ReturnDocument
from pymongo.errors import DuplicateKeyError, InvalidOperation
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from .metrics import Metrics, PoolListener
from .settings import Settings, pool_of


class KeyReusedError(Exception):
    """The idempotency key came before with another text."""


class Store:
    """The application's collections; every call ends within the time-outs of the settings."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        pool_min, pool_max = pool_of(settings.mongodb_uri)
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            settings.mongodb_uri,
            appname=f"linda-lab-api@{settings.name}"[:128],
            minPoolSize=pool_min,
            maxPoolSize=pool_max,
            tz_aware=True,
            event_listeners=[PoolListener(metrics)],
        )
        database = self._client.get_database(
            settings.mongodb_database, read_concern=ReadConcern("majority"), write_concern=WriteConcern("majority")
        )
        self._messages = database["messages"]
        self._readiness = database["readiness"]
        self._prepared = False
        self._preparing = asyncio.Lock()

    async def close(self) -> None:
        await self._client.close()

    async def check(self) -> None:
        """Prove that MongoDB takes a durable write from this process now; raises PyMongoError otherwise."""
        with pymongo.timeout(self._settings.ready_timeout):
            await self._prepare()
            now = datetime.now(UTC)
            await self._readiness.update_one({"_id": self._settings.name}, {"$set": {"time": now}}, upsert=True)

    async def add(self, text: str, key: str | None) -> tuple[dict[str, Any], bool]:
        """Write a message with majority; return it and whether it is new.

        The same `key` gives the same message again, also when two calls race or the first one's answer got lost: one upsert on a unique
        index decides, and it waits for the majority even when it finds the message there. Raises KeyReusedError and PyMongoError.
        """
        fresh = ObjectId()
        document = {"_id": fresh, "text": text, "created": datetime.now(UTC), "host": self._settings.name}
        chosen = {"idempotency_key": key if key is not None else str(fresh)}
        with pymongo.timeout(self._settings.timeout):
            await self._prepare()
            try:
                stored = await self._upsert(chosen, document)
            except DuplicateKeyError:
                # Two upserts of one key raced; the second try finds what the other wrote.
                stored = await self._upsert(chosen, document)
        if stored["text"] != text:
            raise KeyReusedError
        return _public(stored), stored["_id"] == fresh

    async def _upsert(self, chosen: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        change = {"$setOnInsert": document}
        stored = await self._messages.find_one_and_update(chosen, change, upsert=True, return_document=ReturnDocument.AFTER)
        if stored is None:
            raise InvalidOperation("an upsert returned no document")
        return stored

    async def get(self, identity: str) -> dict[str, Any] | None:
        """The message, or None when there is none of that id."""
        if not ObjectId.is_valid(identity):
            return None
        with pymongo.timeout(self._settings.timeout):
            found = await self._messages.find_one({"_id": ObjectId(identity)})
        return None if found is None else _public(found)

    async def newest(self, limit: int, before: str | None) -> list[dict[str, Any]]:
        """At most `limit` messages, newest first, that are older than the id `before`."""
        query = {"_id": {"$lt": ObjectId(before)}} if before is not None else {}
        with pymongo.timeout(self._settings.timeout):
            cursor = self._messages.find(query, sort=[("_id", DESCENDING)], limit=limit)
            return [_public(document) async for document in cursor]

    async def _prepare(self) -> None:
        """Create the unique index once, when MongoDB is first reached: the application starts without it."""
        async with self._preparing:
            if not self._prepared:
                await self._messages.create_index([("idempotency_key", ASCENDING)], name="idempotency_key", unique=True)
                self._prepared = True


def _public(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(document["_id"]),
        "text": document["text"],
        "created": document["created"].isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "host": document["host"],
    }
