"""What /metrics shows."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from pymongo import monitoring

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The application's metrics, in a registry of their own."""

    def __init__(self, version: str, pool_min: int, pool_max: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client does not annotate it
        self.registry = registry = CollectorRegistry()
        Gauge("linda_api_info", "Always 1; the labels tell what runs.", ["version"], registry=registry).labels(version).set(1)
        self.requests = Counter("linda_api_requests", "Answered requests.", ["method", "route", "status"], registry=registry)
        self.seconds = Histogram("linda_api_request_seconds", "Time to answer.", ["method", "route"], buckets=_BUCKETS, registry=registry)
        self.in_flight = Gauge("linda_api_requests_in_flight", "Requests being answered now.", registry=registry)
        self.websockets = Gauge("linda_api_websockets", "Open WebSockets.", registry=registry)
        limits = Gauge("linda_api_mongodb_pool_limit", "Connections that a pool keeps at least and at most.", ["bound"], registry=registry)
        limits.labels("min").set(pool_min)
        limits.labels("max").set(pool_max)
        self.pool_open = Gauge("linda_api_mongodb_pool_open", "Open connections to MongoDB.", ["server"], registry=registry)
        self.pool_in_use = Gauge("linda_api_mongodb_pool_in_use", "Connections in use.", ["server"], registry=registry)
        self.pool_failures = Counter(
            "linda_api_mongodb_pool_checkout_failures", "Calls that got no connection.", ["server", "reason"], registry=registry
        )


class PoolListener(monitoring.ConnectionPoolListener):
    """Keeps the pool metrics; the driver calls it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        self._metrics.pool_open.labels(_server(event)).inc()

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        self._metrics.pool_open.labels(_server(event)).dec()

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        self._metrics.pool_in_use.labels(_server(event)).inc()

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        self._metrics.pool_in_use.labels(_server(event)).dec()

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        self._metrics.pool_failures.labels(_server(event), event.reason).inc()

    def _ignore(self, event: Any) -> None:
        """Not counted: what a cleared or closed pool drops, it closes connection by connection."""

    pool_created = pool_ready = pool_cleared = pool_closed = connection_ready = connection_check_out_started = _ignore


def _server(event: object) -> str:
    host, port = getattr(event, "address", ("unknown", 0))
    return f"{host}:{port}"
