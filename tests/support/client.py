"""A client of the edges of a lab: HTTPS with the lab's own CA, by name, at a chosen edge's address."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.ansible import Lab


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 when nothing did."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class _Connection(http.client.HTTPSConnection):
    """HTTPS to an address, with SNI and certificate check by name."""

    def __init__(self, name: str, address: str, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(name, timeout=timeout, context=context)
        self._address = address

    def connect(self) -> None:
        """Connect to the address, whatever the name resolves to."""
        import socket

        raw = socket.create_connection((self._address, 443), self.timeout)
        self.sock = self._context.wrap_socket(raw, server_hostname=self.host)  # type: ignore[attr-defined]  # of http.client


@dataclass(frozen=True)
class Edge:
    """The service name and where the edges are."""

    name: str
    addresses: Mapping[str, str]
    context: ssl.SSLContext

    @classmethod
    def of(cls, lab: Lab) -> Edge:
        """The edges of a lab, from its inventory; its CA must exist."""
        inventory = yaml.safe_load((lab.inventory / "hosts.yml").read_text())["all"]
        settings = yaml.safe_load((lab.inventory / "group_vars" / "all" / "generated.yml").read_text())
        addresses = {host: inventory["hosts"][host]["ansible_host"] for host in inventory["children"]["edge"]["hosts"]}
        context = ssl.create_default_context(cafile=str(lab.state / "ca" / "ca.pem"))
        return cls(f"api.{settings['fleet_domain']}", addresses, context)

    def request(
        self, edge: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 10
    ) -> Answer:
        """One request on a connection of its own through one edge."""
        connection = _Connection(self.name, self.addresses[edge], self.context, timeout)
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body), headers=sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, error=str(error))
        finally:
            connection.close()


@dataclass
class Load:
    """Threads that repeat a request until told to stop, at most `limit` seconds; every answer is kept with its time."""

    once: Callable[[int], Answer]
    threads: int = 2
    pause: float = 0.02
    limit: float = 120
    answers: list[tuple[float, int, Answer]] = field(default_factory=list)
    """(seconds since start at the end of the request, number of the request, answer)"""

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._begin = time.monotonic()
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()
        self._workers = [threading.Thread(target=self._work) for _ in range(self.threads)]
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while not self._stop.is_set() and time.monotonic() - self._begin < self.limit:
            with self._lock:
                number = next(self._numbers)
            answer = self.once(number)
            with self._lock:
                self.answers.append((time.monotonic() - self._begin, number, answer))
            self._stop.wait(self.pause)

    def wait_for(self, condition: Callable[[list[tuple[float, int, Answer]]], bool], seconds: float, what: str) -> None:
        """Return when the answers so far meet the condition; fail after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                if condition(self.answers):
                    return
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {seconds} s; last answers {[a.status for _, _, a in self.answers[-10:]]}")


def key() -> str:
    """A new idempotency key."""
    return str(uuid.uuid4())
