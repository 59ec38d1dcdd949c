"""Judge an edge from outside: python judge.py ADDRESS CA-FILE [hold SECONDS]. Says what is wrong and ends with 1, or ends with 0.

Speaks to the edge as clients do and reads nothing on it. `hold` keeps a WebSocket busy for so long instead, and fails when it is cut.
"""

from __future__ import annotations

import asyncio
import collections
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

NAME = "api.linda.test"
HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "permissions-policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = "max-age=63072000"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Answer:
    """A response: status, headers by lower-case name (all values of a name joined), body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Edge:
    """One edge and what can be asked of it."""

    def __init__(self, address: str, ca_file: str) -> None:
        self.address = address
        self.context = ssl.create_default_context(cafile=ca_file)
        self.ca_file = ca_file

    def open(self, tls: bool = True) -> socket.socket:
        """Connect to 443 under the site's name, or to 80."""
        plain = socket.create_connection((self.address, 443 if tls else 80), timeout=20)
        return self.context.wrap_socket(plain, server_hostname=NAME) if tls else plain

    def ask(self, request: bytes, tls: bool = True) -> Answer | None:
        """Send bytes; None if the edge closes without an answer."""
        with self.open(tls) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            try:
                response.begin()
            except (http.client.RemoteDisconnected, ConnectionResetError):
                return None
            found: dict[str, str] = {}
            for name, value in response.getheaders():
                found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
            return Answer(response.status, found, response.read())

    def get(self, path: str, method: str = "GET", name: str = NAME, more: str = "", tls: bool = True, body: str = "") -> Answer:
        """Make one request and close."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        text = f"{method} {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n{length}{more}\r\n{body}"
        answer = self.ask(text.encode("latin-1"), tls)
        assert answer, f"{method} {path}: no answer"
        return answer

    def websocket(self, cookie: str = "") -> connect:
        """Open a WebSocket, as an asynchronous context."""
        headers = {"Cookie": cookie} if cookie else {}
        # Connects to `host` under the name of the URL.
        return connect(f"wss://{NAME}/ws", host=self.address, ssl=self.context, additional_headers=headers, open_timeout=20, proxy=None)


async def server_of(connection: ClientConnection) -> str:
    """The name of the server behind a WebSocket, which it says in what it pushes."""
    while True:
        message = json.loads(await connection.recv())
        if message.get("type") == "push":
            return str(message["host"])


async def echoed(connection: ClientConnection, text: str) -> None:
    """Send a text and wait for its echo between what is pushed."""
    await connection.send(text)
    while await connection.recv() != text:
        pass


def check_headers(edge: Edge) -> None:
    """Every status, from nginx and from the application, has every header."""
    cases = {
        "200 application": (edge.get("/healthz"), 200),
        "200 edge": (edge.get("/edge-health"), 200),
        "400 host": (edge.get("/", name=f"{NAME}:443@evil.example"), 400),
        "404 application": (edge.get("/absent"), 404),
        "404 edge": (edge.get("/metrics"), 404),
        "405 application": (edge.get("/version", "DELETE"), 405),
        "405 edge": (edge.get("/", "TRACE"), 405),
        "413 edge": (edge.get("/v1/messages", "POST", more="Content-Length: 300000\r\n"), 413),
        "414 edge": (edge.get("/" + "x" * 9000), 414),
        "421 edge": (edge.get("/", name="other.example"), 421),
        "503 application": (edge.get("/v1/messages", "POST", body='{"text": "no database here"}'), 503),
    }
    for case, (answer, status) in cases.items():
        assert answer.status == status, f"{case}: {answer.status}"
        for name, value in HEADERS.items():
            assert answer.headers.get(name) == value, f"{case}: {name}: {answer.headers.get(name)}"
        assert answer.headers.get("strict-transport-security") == HSTS, f"{case}: {answer.headers}"
        assert not {"server", "x-powered-by"} & answer.headers.keys(), f"{case}: {answer.headers}"
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"]), case


def check_plain(edge: Edge) -> None:
    """Without TLS there is the redirect and nothing else."""
    answer = edge.get("/a/b?c=d", tls=False)
    assert (answer.status, answer.headers["location"]) == (301, f"https://{NAME}/a/b?c=d"), answer
    assert "strict-transport-security" not in answer.headers
    for name, value in HEADERS.items():
        assert answer.headers.get(name) == value, name
    for host in ("other.example", f"{NAME}@evil.example", edge.address):
        assert edge.get("/", name=host, tls=False).status == 421, host
    assert edge.get("/", name=f"{NAME}:80@evil.example", tls=False).status == 400
    assert edge.get("/edge-health", name=edge.address, tls=False).body == b"ok\n"
    for tls in (True, False):
        assert edge.ask(b"GET /edge-health\r\n", tls) is None, "HTTP/0.9 was answered"


def check_tls(edge: Edge) -> None:
    """Protocols, suites, names, tickets, HTTP/2: with openssl and curl."""

    def shake(*arguments: str) -> str:
        command = ["openssl", "s_client", "-connect", f"{edge.address}:443", "-servername", NAME, *arguments]
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    assert "Cipher is (NONE)" in shake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "TLS 1.1 was accepted"
    assert "Cipher is (NONE)" in shake("-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"), "a weak suite was accepted"
    assert "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305" in shake("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305")
    assert "TLS session ticket:" not in shake("-tls1_2"), "a session ticket was given"
    assert "Verify return code: 0" in shake("-tls1_3", "-CAfile", edge.ca_file, "-verify_hostname", NAME)
    unknown = shake("-servername", "other.example")
    assert "unrecognized name" in unknown, unknown[-300:]
    curl = ["curl", "--silent", "--show-error", "--http2", "--cacert", edge.ca_file, "--resolve", f"{NAME}:443:{edge.address}"]
    text = subprocess.run([*curl, "--include", f"https://{NAME}/healthz"], capture_output=True, text=True, check=True).stdout
    assert text.startswith("HTTP/2 200"), text[:40]
    assert f"strict-transport-security: {HSTS}" in text.splitlines()


def check_balance(edge: Edge) -> None:
    """Each server gets its share; each WebSocket stays where its cookie says."""
    counts = collections.Counter(json.loads(edge.get("/version").body)["host"] for _ in range(40))
    assert counts == {"api1": 20, "api2": 20}, counts
    homes = asyncio.run(asyncio.wait_for(homes_of(edge, 12), 120))
    assert homes == {"api1", "api2"}, homes


async def homes_of(edge: Edge, clients: int) -> set[str]:
    """Let so many clients come twice, and return the servers that they met; each must meet the same one again."""
    homes = set()
    for _ in range(clients):
        async with edge.websocket() as first:
            assert first.response
            cookie = first.response.headers["Set-Cookie"]
            assert re.fullmatch("edge_sid=[0-9a-f]{32}; Path=/; HttpOnly; Secure; SameSite=Lax", cookie), cookie
            await echoed(first, '"echo"')
            home = await server_of(first)
        homes.add(home)
        async with edge.websocket(cookie.split(";")[0]) as again:
            assert again.response
            assert "Set-Cookie" not in again.response.headers
            assert await server_of(again) == home
    return homes


def check_trace(edge: Edge) -> None:
    """A trace is continued by the application; a bad one is replaced on the way."""
    answer = edge.get("/version", more=f"Traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n")
    assert answer.headers["x-trace-id"] == TRACE
    assert answer.headers["traceparent"].split("-")[1] == TRACE
    answer = edge.get("/version", more="Traceparent: 00-zz\r\n")
    assert answer.headers["traceparent"].split("-")[1] == answer.headers["x-trace-id"] != TRACE
    # Read in the access log by the playbook: who did the edge think asked this?
    forged = (
        "X-Forwarded-For: 203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\nTraceparent: 00-{}-00f067aa0ba902b7-01\r\n"
    )
    assert edge.get("/version", more=forged.format("f" * 31 + "1")).status == 200


async def hold(edge: Edge, seconds: float) -> None:
    """Keep a WebSocket busy; a cut raises."""
    deadline = time.monotonic() + seconds
    sent = 0
    async with edge.websocket() as connection:
        while time.monotonic() < deadline:
            sent += 1
            await asyncio.wait_for(echoed(connection, f'"message {sent}"'), 10)
            await asyncio.sleep(0.05)
    print(f"{sent} messages")


def main() -> int:
    """Run all checks, name the first that fails."""
    edge = Edge(*sys.argv[1:3])
    if sys.argv[3:4] == ["hold"]:
        asyncio.run(hold(edge, float(sys.argv[4])))
        return 0
    failed = 0
    for check in (check_headers, check_plain, check_tls, check_balance, check_trace):
        try:
            check(edge)
        except (AssertionError, OSError, KeyError, subprocess.CalledProcessError, TimeoutError, WebSocketException) as error:
            failed += 1
            print(f"{check.__name__}: {type(error).__name__}: {error}")
        else:
            print(f"{check.__name__}: good")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
