"""What happens around every call: trace, log line, metrics; and the drills."""

import asyncio
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import tracing
from .metrics import Metrics
from .settings import Settings

logger = logging.getLogger("linda_lab_api.access")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_QUIET = {"/healthz", "/readyz", "/metrics"}


class Observe:
    """Outermost layer: takes or makes the trace, answers with it, writes one log line a call, and counts."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        is_http = scope["type"] == "http"
        trace = tracing.take(Headers(scope=scope).get("traceparent"))
        token = tracing.current.set(trace)
        started, status, opened = time.perf_counter(), 0, False

        async def answer(message: Message) -> None:
            nonlocal status, opened
            if message["type"] in {"http.response.start", "websocket.accept", "websocket.http.response.start"}:
                MutableHeaders(scope=message)["traceparent"] = trace.header()
                status = message.get("status", 101)
            if message["type"] == "websocket.accept":
                opened = True
                self.metrics.websockets.inc()
            await send(message)

        if is_http:
            self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, answer)
        except Exception:
            # Logged here, where the trace is known. The framework has answered an HTTP call with 500; the server closes a WebSocket.
            logger.exception("unhandled error")
            if not is_http:
                raise
        finally:
            # Cut off before it answered: 499, as nginx has it. A refused WebSocket: 403, as the server answers it.
            status = status or (499 if is_http else 403)
            self._account(scope, status, time.perf_counter() - started)
            if is_http:
                self.metrics.in_flight.dec()
            if opened:
                self.metrics.websockets.dec()
            tracing.current.reset(token)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope.get("method", "GET")
        method = method if method in _METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        if scope["type"] == "http":
            self.metrics.seconds.labels(method, route).observe(seconds)
        fields = {"method": method, "path": scope["path"], "route": route, "status": status, "seconds": round(seconds, 6)}
        level = logging.DEBUG if route in _QUIET and status < 400 else logging.INFO
        logger.log(level, "%s %s %d", method, scope["path"], status, extra=fields)


class Misbehave:
    """Applies the drills to calls below /v1: health and metrics stay honest, as they do in a real failure of that kind."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._owed = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        if self.settings.drill_latency:
            await asyncio.sleep(self.settings.drill_latency)
        # Errors are evenly spread, not drawn: a ratio of 0.2 is each fifth call, so that a drill is the same each time.
        self._owed += self.settings.drill_error_ratio
        if self._owed >= 1 - 1e-9:
            self._owed -= 1
            logging.getLogger(__name__).error("failing on purpose (drill error_ratio = %g)", self.settings.drill_error_ratio)
            await JSONResponse({"error": "failed on purpose by a drill"}, status_code=500)(scope, receive, send)
            return
        await self.app(scope, receive, send)
