"""The endpoints."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from bson import ObjectId
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pymongo.errors import PyMongoError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from . import __version__
from .metrics import Metrics
from .middleware import Misbehave, Observe
from .settings import Settings, pool_of
from .store import KeyReusedError, Store

logger = logging.getLogger("linda_lab_api")
BODY_LIMIT = 64 * 1024
TEXT_LIMIT = 10_000


class Api:
    """Handlers, with what they share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(__version__, *pool_of(settings.mongodb_uri))
        self.store: Store | None = None
        self.identity = {"version": __version__, "host": settings.name, "pid": os.getpid()}

    def _store(self) -> Store:
        if self.store is None:
            raise HTTPException(503, "not started")
        return self.store

    async def health(self, request: Request) -> Response:
        """The process runs and its event loop turns."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """MongoDB is reachable and takes a durable write."""
        try:
            await self._store().check()
        except PyMongoError as error:
            logger.warning("not ready: %s", error)
            return JSONResponse({"status": "unavailable", "reason": f"MongoDB: {type(error).__name__}"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def version(self, request: Request) -> Response:
        return JSONResponse(self.identity)

    async def expose(self, request: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def post_message(self, request: Request) -> Response:
        """Store a message: 201, or 200 with the same body when its Idempotency-Key came before."""
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 255:
            raise HTTPException(400, "Idempotency-Key must have 1 to 255 characters")
        text = await _text(request)
        try:
            message, is_new = await self._store().add(text, key)
        except KeyReusedError as error:
            raise HTTPException(422, "this Idempotency-Key was used for another message") from error
        return JSONResponse(message, status_code=201 if is_new else 200, headers={"location": f"/v1/messages/{message['id']}"})

    async def get_message(self, request: Request) -> Response:
        message = await self._store().get(request.path_params["identity"])
        if message is None:
            raise HTTPException(404, "no such message")
        return JSONResponse(message)

    async def list_messages(self, request: Request) -> Response:
        """Newest first: ?limit=1..100 (20), ?before=ID for the next page."""
        limit, before = request.query_params.get("limit", "20"), request.query_params.get("before")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= 100:
            raise HTTPException(400, "limit must be from 1 to 100")
        if before is not None and not ObjectId.is_valid(before):
            raise HTTPException(400, "before must be the id of a message")
        messages = await self._store().newest(int(limit), before)
        following = messages[-1]["id"] if len(messages) == int(limit) else None
        return JSONResponse({"messages": messages, "next": following})

    async def websocket(self, websocket: WebSocket) -> None:
        """Echo each message; push one of our own at each interval."""
        await websocket.accept()
        pushing = asyncio.create_task(self._push(websocket))
        try:
            while (message := await websocket.receive())["type"] == "websocket.receive":
                await websocket.send({key: value for key, value in message.items() if key != "type"} | {"type": "websocket.send"})
        finally:
            pushing.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await pushing
        logger.info("websocket closed", extra={"code": message.get("code")})

    async def _push(self, websocket: WebSocket) -> None:
        sequence = 0
        while True:
            await asyncio.sleep(self.settings.push_interval)
            sequence += 1
            await websocket.send_json({"type": "push", "sequence": sequence, **self.identity})

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Before the port is opened, and after the last call was answered."""
        await asyncio.sleep(self.settings.drill_slow_start)
        self.store = Store(self.settings, self.metrics)
        leaking = asyncio.create_task(_leak(self.settings.drill_memory_growth))
        logger.info("started", extra=self.identity)
        try:
            yield
        finally:
            leaking.cancel()
            await self.store.close()
            logger.info("stopped", extra=self.identity)


async def _leak(mebibytes: float) -> None:
    """Take so much memory each second, and keep it."""
    hoard = []
    while mebibytes:
        hoard.append(b"\xff" * int(mebibytes * 1024 * 1024))
        await asyncio.sleep(1)


async def _text(request: Request) -> str:
    """The text of a posted message; raises HTTPException with what is wrong."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"the body is longer than {BODY_LIMIT} bytes")
    try:
        document: Any = json.loads(body)
    except ValueError as error:
        raise HTTPException(400, "the body is not JSON") from error
    text = document.get("text") if isinstance(document, dict) else None
    if not isinstance(text, str) or not 1 <= len(text) <= TEXT_LIMIT:
        raise HTTPException(400, f'the body must be {{"text": "..."}} with 1 to {TEXT_LIMIT} characters')
    return text


async def _refused(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "internal error")
    return JSONResponse({"error": detail}, status_code=status, headers=getattr(error, "headers", None))


async def _unavailable(request: Request, error: Exception) -> Response:
    """MongoDB did not answer in time. Whether a write took place is unknown: the caller repeats it with the same Idempotency-Key."""
    logger.error("MongoDB: %s", error, extra={"error": type(error).__name__})
    return JSONResponse({"error": "storage is not available"}, status_code=503, headers={"retry-after": "1"})


def create_app(settings: Settings) -> ASGIApp:
    """The ASGI application."""
    api = Api(settings)
    routes = [
        Route("/healthz", api.health),
        Route("/readyz", api.ready),
        Route("/version", api.version),
        Route("/metrics", api.expose),
        Route("/v1/messages", api.post_message, methods=["POST"]),
        Route("/v1/messages", api.list_messages, methods=["GET"]),
        Route("/v1/messages/{identity}", api.get_message),
        WebSocketRoute("/ws", api.websocket),
    ]
    inner = Starlette(
        routes=routes,
        lifespan=api.lifespan,
        middleware=[Middleware(Misbehave, settings=settings)],
        exception_handlers={HTTPException: _refused, PyMongoError: _unavailable, Exception: _refused},
    )
    return Observe(inner, api.metrics)
