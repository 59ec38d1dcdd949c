"""The probes of run_checks against real servers on loopback. Each type and field has a case in which it fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import Result, run_all
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import parse_checks
from checks_support import Authority, answer, free_port, serving, tls_server
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

NAME = "edge.linda.test"


def run(check: Mapping[str, object], secrets: Mapping[str, str] | None = None) -> Result:
    """Run one check against loopback, once, quickly."""
    common = {"name": "it", "host": "edge1", "role": "edge", "address": "127.0.0.1", "timeout": 3, "retries": 0, "pause": 0.05}
    (result,) = run_all(parse_checks([common | dict(check)]), {"edge1": secrets or {}}, 4)
    return result


def passes(check: Mapping[str, object], secrets: Mapping[str, str] | None = None) -> Result:
    result = run(check, secrets)
    assert result.status == "pass", result
    assert result.reason == ""
    return result


def fails(reason: str, check: Mapping[str, object], secrets: Mapping[str, str] | None = None) -> Result:
    """The check fails, and its reason has a match of the regular expression `reason`."""
    result = run(check, secrets)
    assert result.status == "fail", result
    assert re.search(reason, result.reason), result
    return result


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def _old_protocols_are_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="ssl.TLSVersion", category=DeprecationWarning)
        yield


class TestTcp:
    def test_open(self) -> None:
        with serving(lambda _connection: None) as port:
            passes({"type": "tcp", "port": port})

    def test_closed(self) -> None:
        fails("refused the connection", {"type": "tcp", "port": free_port()})

    def test_unknown_name(self) -> None:
        fails("does not resolve", {"type": "tcp", "port": 1, "address": "nobody.invalid"})

    def test_silent_host(self) -> None:
        """A listener with a full backlog does not answer; the timeout holds."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            port = server.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            time.sleep(0.1)
            started = time.monotonic()
            fails("within 0.4 s", {"type": "tcp", "port": port, "timeout": 0.4})
            assert time.monotonic() - started < 1.5
            for filler in fillers:
                filler.close()


class TestTls:
    def check(self, authority: Authority, port: int, **more: object) -> dict[str, object]:
        return {"type": "tls", "port": port, "server_names": [NAME], "ca_file": str(authority.file)} | more

    @pytest.mark.parametrize("use_rsa", [False, True])
    def test_good(self, authority: Authority, use_rsa: bool) -> None:
        with tls_server(authority.leaf(NAME, use_rsa=use_rsa)) as port:
            result = passes(self.check(authority, port))
        assert "TLSv1.3" in result.evidence
        assert "TLSv1.1 and older refused (alert: protocol version)" in result.evidence
        assert result.warning == ""

    def test_good_by_address(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME)) as port:
            passes({"type": "tls", "port": port, "ca_pem": authority.pem})

    def test_expired(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME, days=-1, age=30)) as port:
            fails("certificate has expired", self.check(authority, port))

    def test_not_yet_valid(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME, age=-2)) as port:
            fails("not yet valid", self.check(authority, port))

    def test_wrong_name(self, authority: Authority) -> None:
        with tls_server(authority.leaf("other.linda.test")) as port:
            fails("[Hh]ostname mismatch", self.check(authority, port))

    def test_every_name_counts(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME)) as port:
            fails("www.linda.test.*[Hh]ostname", self.check(authority, port, server_names=[NAME, "www.linda.test"]))

    def test_wrong_authority(self, authority: Authority, tmp_path: Path) -> None:
        stranger = Authority(tmp_path / "other")
        with tls_server(stranger.leaf(NAME)) as port:
            fails("unable to get (local )?issuer certificate", self.check(authority, port))

    def test_same_name_of_another_authority(self, authority: Authority, tmp_path: Path) -> None:
        with tls_server(authority.leaf(NAME)) as port:
            fails("the certificate for", self.check(Authority(tmp_path / "other"), port))

    def test_machine_trust_store_does_not_know_it(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME)) as port:
            fails("issuer certificate", {"type": "tls", "port": port, "server_names": [NAME]})

    def test_authority_that_is_not_there(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME)) as port:
            fails("does not exist", self.check(authority, port, ca_file="/nonexistent/ca.pem"))

    def test_authority_that_is_garbage(self, authority: Authority, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("nothing")
        with tls_server(authority.leaf(NAME)) as port:
            fails("cannot be read", self.check(authority, port, ca_file=str(tmp_path / "ca.pem")))

    def test_few_days_warn(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME, days=10)) as port:
            result = passes(self.check(authority, port))
        assert "fewer than 21" in result.warning

    def test_too_few_days_fail(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME, days=5)) as port:
            fails(r"4\.\d days left, fewer than 7|5\.0 days left, fewer than 7", self.check(authority, port))
            passes(self.check(authority, port, fail_days=3))

    @pytest.mark.parametrize("use_rsa", [False, True])
    @pytest.mark.parametrize("low", ["TLSv1", "TLSv1.1"])
    def test_old_protocol_beside_a_new_one(self, authority: Authority, low: str, use_rsa: bool) -> None:
        """The server agrees on TLS 1.3 with us, and all the same takes old clients."""
        with tls_server(authority.leaf(NAME, use_rsa=use_rsa), low=low) as port:
            fails(r"the server accepts TLSv1\.1, below TLSv1\.2", self.check(authority, port))

    def test_oldest_protocol_beside_a_new_one(self, authority: Authority) -> None:
        """TLS 1.0 and 1.3, not 1.1: found by the same offer."""
        leaf = authority.leaf(NAME)
        with tls_server(leaf, low="TLSv1") as port:
            fails("accepts TLSv1", self.check(authority, port))

    def test_only_an_old_protocol(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME), low="TLSv1.1", high="TLSv1.1") as port:
            fails("no TLS with", self.check(authority, port))

    def test_higher_floor(self, authority: Authority) -> None:
        leaf = authority.leaf(NAME)
        with tls_server(leaf, low="TLSv1.3") as port:
            assert "TLSv1.2 and older refused" in passes(self.check(authority, port, min_version="TLSv1.3")).evidence
        with tls_server(leaf) as port:
            fails(r"accepts TLSv1\.2, below TLSv1\.3", self.check(authority, port, min_version="TLSv1.3"))
        with tls_server(leaf, high="TLSv1.2") as port:
            fails(r"served with TLSv1\.2, below TLSv1\.3", self.check(authority, port, min_version="TLSv1.3"))

    def test_no_tls_at_all(self, authority: Authority) -> None:
        with serving(answer(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
            fails("no answer within|no TLS with", self.check(authority, port, timeout=0.5))

    def test_closes_at_once(self, authority: Authority) -> None:
        with serving(lambda _connection: None) as port:
            fails("TLS", self.check(authority, port))


REQUESTS: list[bytes] = []


def web(connection: socket.socket) -> None:
    """A small web server: what is asked is what comes back."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(65536)
        if not part:
            return
        head += part
    head, _, body = head.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while length is not None and len(body) < int(length[1]):
        body += connection.recv(65536)
    REQUESTS.append(head + b"\r\n\r\n" + body)
    path = head.split(b" ")[1].decode()
    status, headers, content = {
        "/json": ("200 OK", ["Content-Type: application/json"], b'{"status": "ok", "up": true, "n": [1, {"a.b": null}]}'),
        "/moved": ("301 Moved Permanently", ["Location: https://edge.linda.test/"], b""),
        "/busy": ("503 Service Unavailable", [], b"busy"),
        "/twice": ("200 OK", ["X-A: one", "X-A: two", "Server: nginx/1.22"], b"body"),
    }.get(path, ("200 OK", ["Strict-Transport-Security: max-age=63072000"], b"hello\nworld"))
    connection.sendall("\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", ""]).encode() + content)


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    with serving(web) as port:
        yield port


class TestHttp:
    @pytest.fixture(autouse=True)
    def _site(self, web_port: int) -> None:
        REQUESTS.clear()
        self.site = f"http://{NAME}:{web_port}"

    def check(self, path: str, **more: object) -> dict[str, object]:
        return {"type": "http", "url": self.site + path} | more

    def test_good(self) -> None:
        assert passes(self.check("/?a=b")).evidence == "200, 11 bytes"
        assert REQUESTS[0].startswith(b"GET /?a=b HTTP/1.1\r\n")
        assert f"\r\nHost: {self.site.removeprefix('http://')}\r\n".encode() in REQUESTS[0]

    def test_status(self) -> None:
        result = fails("^status 503, expected 200$", self.check("/busy"))
        assert "busy" in result.evidence
        passes(self.check("/busy", status=503))
        passes(self.check("/busy", status=[200, 503]))
        fails("status 200, expected 503", self.check("/", status=503))

    def test_method(self) -> None:
        passes(self.check("/", method="DELETE"))
        assert REQUESTS[0].startswith(b"DELETE / ")

    def test_request_headers(self) -> None:
        passes(self.check("/", headers={"Host": "other.linda.test", "X-Thing": "1"}))
        assert b"\r\nHost: other.linda.test\r\n" in REQUESTS[0]
        assert REQUESTS[0].lower().count(b"\r\nhost:") == 1
        assert b"\r\nX-Thing: 1\r\n" in REQUESTS[0]

    def test_bodies(self) -> None:
        passes(self.check("/", method="POST", json={"a": [1]}))
        assert REQUESTS[0].endswith(b'\r\n\r\n{"a": [1]}')
        assert b"Content-Type: application/json" in REQUESTS[0]
        passes(self.check("/", method="POST", body="plain"))
        assert REQUESTS[1].endswith(b"\r\n\r\nplain")

    def test_headers(self) -> None:
        passes(self.check("/", expect_headers={"strict-transport-security": "^max-age=63072000$"}))
        fails(
            "header strict-transport-security is 'max", self.check("/", expect_headers={"strict-transport-security": "includeSubDomains"})
        )
        fails("header X-Frame-Options is missing", self.check("/", expect_headers={"X-Frame-Options": ""}))
        passes(self.check("/twice", expect_headers={"X-A": "one, two"}))

    def test_absent_headers(self) -> None:
        passes(self.check("/", absent_headers=["Server"]))
        fails("header server is there: 'nginx/1.22'", self.check("/twice", absent_headers=["server"]))

    def test_redirect(self) -> None:
        passes(self.check("/moved", status=301, location="https://edge.linda.test/"))
        fails("Location is 'https://edge.linda.test/', expected", self.check("/moved", status=301, location="https://edge.linda.test/x"))
        fails("Location is None", self.check("/", location="https://edge.linda.test/"))
        fails("status 301, expected 200", self.check("/moved"))

    def test_body_pattern(self) -> None:
        passes(self.check("/", body_regex="(?s)^hello.world$"))
        fails("the body does not match", self.check("/", body_regex="bye"))

    def test_json(self) -> None:
        passes(self.check("/json", expect_json={"status": "ok", "$.up": True, "n[0]": 1, '$.n[1]["a.b"]': None}))
        fails("JSON status is 'ok', expected 'bad'", self.check("/json", expect_json={"status": "bad"}))
        fails("JSON up is True, expected 1", self.check("/json", expect_json={"up": 1}))
        fails("has no element 7", self.check("/json", expect_json={"n[7]": 1}))
        fails("has no field 'none'", self.check("/json", expect_json={"none": None}))
        fails("not JSON", self.check("/", expect_json={"a": 1}))

    def test_all_differences_are_named(self) -> None:
        result = fails("status", self.check("/busy", body_regex="nope", expect_headers={"X": "y"}))
        assert result.reason.count(";") == 2

    def test_basic_login(self) -> None:
        secret = "s3cret-of-the-host"  # noqa: S105  # made up here
        check = self.check("/", username="monitor", password_variable="the_password", body_regex="no")  # noqa: S106  # a variable's name
        result = fails("does not match", check, {"the_password": secret})
        assert base64.b64encode(f"monitor:{secret}".encode()) in REQUESTS[0]
        assert secret not in str(result)

    def test_bearer_login(self) -> None:
        check = self.check("/", bearer_variable="token")
        passes(check, {"token": "abc"})
        assert b"Authorization: Bearer abc" in REQUESTS[0]
        fails("variable token is not defined for host edge1", check)
        result = fails("a character that a header cannot carry", check, {"token": "geheim\nX: y"})
        assert "geheim" not in str(result)

    def test_secret_that_the_server_repeats_is_masked(self) -> None:
        echo = answer(b"HTTP/1.1 500 Oh\r\nContent-Length: 12\r\n\r\ntoken=geheim")
        with serving(echo) as port:
            check = {"type": "http", "url": f"http://{NAME}:{port}/", "bearer_variable": "token"}
            result = fails("status 500", check, {"token": "geheim"})
        assert "geheim" not in str(result)
        assert "********" in result.evidence

    def test_sensitive_answers_are_not_shown(self) -> None:
        check = self.check("/json", sensitive=True, expect_json={"status": "x"}, expect_headers={"Content-Type": "zzz"}, body_regex="zzz")
        result = fails("JSON status is something else, expected 'x'", check)
        assert result.evidence == ""
        assert "application/json" not in str(result)

    def test_closed_without_an_answer(self) -> None:
        with serving(answer(b"")) as port:
            fails("closed the connection without an answer", {"type": "http", "url": f"http://{NAME}:{port}/"})

    def test_not_http(self) -> None:
        with serving(answer(b"SSH-2.0-OpenSSH\r\n\r\n")) as port:
            fails("not HTTP", {"type": "http", "url": f"http://{NAME}:{port}/"})

    def test_cut_short(self) -> None:
        with serving(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as port:
            fails("ended before its end", {"type": "http", "url": f"http://{NAME}:{port}/"})

    def test_never_ending_answer(self) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(b"X-More: 1\r\n")
                time.sleep(0.1)

        with serving(drip) as port:
            started = time.monotonic()
            fails("no answer within 0.6 s", {"type": "http", "url": f"http://{NAME}:{port}/", "timeout": 0.6})
            assert time.monotonic() - started < 2

    def test_https_verifies_name_and_chain(self, authority: Authority, tmp_path: Path) -> None:
        with tls_server(authority.leaf(NAME), handle=web) as port:
            check = {"type": "http", "url": f"https://{NAME}:{port}/", "ca_file": str(authority.file)}
            assert "TLSv1.3" in passes(check).evidence
            fails("[Hh]ostname mismatch", check | {"url": f"https://other.linda.test:{port}/"})
            fails("the certificate for", check | {"ca_file": str(Authority(tmp_path / "x").file)})


@pytest.fixture(scope="module")
def nginx_ports(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, int]]:
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    assert nginx is not None, "install the packages of requirements/debian-test.txt"
    directory = tmp_path_factory.mktemp("nginx")
    leaf = authority.leaf(NAME, use_rsa=True)
    plain, good, old = free_port(), free_port(), free_port()
    (directory / "nginx.conf").write_text(f"""
        daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
        {"user root;" if os.geteuid() == 0 else ""}
        events {{}}
        http {{
          access_log off; server_tokens off;
          client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
          uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
          ssl_certificate {leaf.chain}; ssl_certificate_key {leaf.key};
          server {{ listen 127.0.0.1:{plain}; server_name {NAME}; return 301 https://{NAME}$request_uri; }}
          server {{ listen 127.0.0.1:{good} ssl; server_name {NAME}; ssl_protocols TLSv1.2 TLSv1.3;
            add_header Strict-Transport-Security "max-age=63072000" always;
            location /healthz {{ default_type application/json; return 200 '{{"status":"ok"}}'; }} }}
          server {{ listen 127.0.0.1:{old} ssl; ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers "ALL:@SECLEVEL=0"; return 204; }}
        }}""")
    with subprocess.Popen([nginx, "-p", str(directory), "-c", "nginx.conf", "-e", f"{directory}/error.log"]) as daemon:
        try:
            for _ in range(100):
                if run({"type": "tcp", "port": good}).status == "pass":
                    break
                time.sleep(0.05)
            yield plain, good, old
        finally:
            daemon.terminate()
            daemon.wait(10)


class TestNginx:
    """The same against a daemon that others wrote."""

    def test_good(self, nginx_ports: tuple[int, int, int], authority: Authority) -> None:
        plain, good, _old = nginx_ports
        ca: dict[str, object] = {"ca_file": str(authority.file)}
        passes({"type": "http", "url": f"http://{NAME}:{plain}/a?b", "status": 301, "location": f"https://{NAME}/a?b"})
        passes(
            {
                "type": "http",
                "url": f"https://{NAME}:{good}/healthz",
                "expect_json": {"status": "ok"},
                "expect_headers": {"Strict-Transport-Security": "max-age=63072000", "Server": "^nginx$"},
                "absent_headers": ["X-Powered-By"],
            }
            | ca
        )
        assert "alert: protocol version" in passes({"type": "tls", "port": good, "server_names": [NAME]} | ca).evidence

    def test_old_protocols(self, nginx_ports: tuple[int, int, int], authority: Authority) -> None:
        check = {"type": "tls", "port": nginx_ports[2], "server_names": [NAME], "ca_file": str(authority.file)}
        fails(r"the server accepts TLSv1\.1", check)

    def test_what_is_not_there(self, nginx_ports: tuple[int, int, int], authority: Authority) -> None:
        check = {"type": "http", "url": f"https://{NAME}:{nginx_ports[1]}/none", "ca_file": str(authority.file)}
        fails("status 404, expected 200", check)
        fails("header server is there", check | {"status": 404, "absent_headers": ["server"]})


@pytest.fixture(scope="module")
def websocket_port() -> Iterator[int]:
    """A server that others wrote: echoes, greets, stays silent, closes, or refuses, by path."""
    started, ports = threading.Event(), []

    async def handle(connection: ServerConnection) -> None:
        path = connection.request.path if connection.request else ""
        if path == "/greet":
            await connection.send("hello from api1")
        if path == "/close":
            await connection.close(1012, "restarting")
        async for message in connection:
            if path == "/echo":
                await connection.send(message)
            elif path == "/other":
                await connection.send("something else")

    def refuse(_connection: ServerConnection, request: Request) -> Response | None:
        return Response(401, "Unauthorized", Headers({"Content-Length": "0"}), b"") if request.path == "/private" else None

    def choose(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol("v1") if "v1" in offered else None

    async def main(stop: asyncio.Event) -> None:
        async with serve(handle, "127.0.0.1", 0, process_request=refuse, select_subprotocol=choose) as server:
            ports.append(next(iter(server.sockets)).getsockname()[1])
            started.set()
            await stop.wait()

    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(stop),), daemon=True)
    thread.start()
    assert started.wait(10)
    yield ports[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


class TestWebsocket:
    def check(self, port: int, path: str, **more: object) -> dict[str, object]:
        return {"type": "websocket", "url": f"ws://{NAME}:{port}{path}", "timeout": 1} | more

    def test_upgrade_and_ping(self, websocket_port: int) -> None:
        assert passes(self.check(websocket_port, "/silent")).evidence == "101, ping answered"

    @pytest.mark.parametrize("size", [1, 125, 126, 70000])
    def test_echo(self, websocket_port: int, size: int) -> None:
        passes(self.check(websocket_port, "/echo", send="x" * size))

    def test_no_echo(self, websocket_port: int) -> None:
        fails("no message that matches 'hi' came", self.check(websocket_port, "/silent", send="hi"))
        result = fails("no message that matches 'hi' came", self.check(websocket_port, "/other", send="hi"))
        assert result.evidence == "last message: something else"

    def test_push(self, websocket_port: int) -> None:
        passes(self.check(websocket_port, "/greet", expect=r"^hello from \w+$"))
        fails("no message that matches", self.check(websocket_port, "/greet", expect="bye"))

    def test_refusal(self, websocket_port: int) -> None:
        fails("answered with 401, expected 101", self.check(websocket_port, "/private"))
        passes(self.check(websocket_port, "/private", status=401))
        fails("answered with 101, expected 401", self.check(websocket_port, "/echo", status=401))

    def test_closed(self, websocket_port: int) -> None:
        result = fails("closed the WebSocket with 1012", self.check(websocket_port, "/close", send="hi"))
        assert result.evidence == "restarting"

    def test_subprotocol(self, websocket_port: int) -> None:
        passes(self.check(websocket_port, "/echo", subprotocol="v1"))
        fails("the subprotocol is None, expected v2", self.check(websocket_port, "/echo", subprotocol="v2"))

    def test_a_101_that_is_none(self) -> None:
        with serving(answer(b"HTTP/1.1 101 Sure\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")) as port:
            fails("does not belong to the key", self.check(port, "/"))
        with serving(answer(b"HTTP/1.1 101 Sure\r\n\r\n")) as port:
            fails("no Upgrade: websocket", self.check(port, "/"))
        with serving(answer(b"nonsense\r\n\r\n")) as port:
            fails("not HTTP/1.1", self.check(port, "/"))

    def test_no_pong(self) -> None:
        """The upgrade is right, but nobody is behind it."""

        def half(connection: socket.socket) -> None:
            key = re.search(rb"Sec-WebSocket-Key: (\S+)", connection.recv(65536))
            assert key is not None
            accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
            connection.sendall(
                b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            connection.recv(65536)
            time.sleep(2)

        with serving(half) as port:
            fails("the ping was not answered", self.check(port, "/", timeout=0.5))

    def test_over_tls(self, authority: Authority) -> None:
        with tls_server(authority.leaf(NAME), handle=answer(b"HTTP/1.1 403 No\r\n\r\n")) as port:
            check = {"type": "websocket", "url": f"wss://{NAME}:{port}/", "status": 403, "ca_pem": authority.pem}
            passes(check)
            fails("[Hh]ostname mismatch", check | {"url": f"wss://other.linda.test:{port}/"})


class TestArgv:
    def test_good(self) -> None:
        assert passes({"type": "argv", "argv": ["echo", "a  b"]}).evidence == "a b"

    def test_exit_code(self) -> None:
        fails("exit code 3, expected 0", {"type": "argv", "argv": ["sh", "-c", "exit 3"]})
        passes({"type": "argv", "argv": ["sh", "-c", "exit 3"], "exit_codes": [3, 4]})
        fails("exit code 0, expected 3 or 4", {"type": "argv", "argv": ["true"], "exit_codes": [3, 4]})
        fails("ended by signal 9", {"type": "argv", "argv": ["sh", "-c", "kill -9 $$"]})

    def test_output(self) -> None:
        passes({"type": "argv", "argv": ["echo", "version 6.0.5"], "stdout_regex": r"6\.0\.\d+"})
        fails("standard output does not match", {"type": "argv", "argv": ["echo", "version 5"], "stdout_regex": r"6\.0\.\d+"})
        passes({"type": "argv", "argv": ["sh", "-c", "echo bad >&2"], "stderr_regex": "bad"})
        fails("standard error does not match", {"type": "argv", "argv": ["sh", "-c", "echo good >&2"], "stderr_regex": "bad"})

    def test_no_shell(self) -> None:
        assert passes({"type": "argv", "argv": ["echo", "$HOME; true"]}).evidence == "$HOME; true"

    def test_unknown_command(self) -> None:
        fails("cannot be started: No such file", {"type": "argv", "argv": ["/nonexistent/tool"]})

    def test_no_input(self) -> None:
        passes({"type": "argv", "argv": ["cat"]})

    def test_too_slow_and_its_children_end(self, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        started = time.monotonic()
        fails("did not end within 0.3 s", {"type": "argv", "argv": ["sh", "-c", f"(sleep 1; touch {mark}) & wait"], "timeout": 0.3})
        assert time.monotonic() - started < 1
        time.sleep(1)
        assert not mark.exists()

    def test_sensitive(self) -> None:
        assert passes({"type": "argv", "argv": ["echo", "geheim"], "sensitive": True}).evidence == ""


class TestUnit:
    @pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
    def test_no_systemd(self) -> None:
        fails("systemd does not run on this machine", {"type": "unit", "unit": "nginx.service"})

    @pytest.mark.skipif(not Path("/run/systemd/system").is_dir(), reason="systemd does not run here (the lab proves it)")
    def test_systemd(self) -> None:
        passes({"type": "unit", "unit": "systemd-journald.service", "enabled": "any"})
        fails("does not exist", {"type": "unit", "unit": "never-was.service"})


class TestEngine:
    def test_retries_until_it_is_well(self) -> None:
        port = free_port()

        def later() -> None:
            time.sleep(0.4)
            with socket.create_server(("127.0.0.1", port)) as server:
                server.settimeout(5)
                server.accept()[0].close()

        thread = threading.Thread(target=later)
        thread.start()
        result = passes({"type": "tcp", "port": port, "retries": 20, "pause": 0.1})
        thread.join()
        assert result.attempts > 1
        assert result.duration_s >= 0.3

    def test_gives_up_after_the_last_attempt(self) -> None:
        result = fails("refused", {"type": "tcp", "port": free_port(), "retries": 3, "pause": 0.02})
        assert result.attempts == 4

    def test_concurrent_and_in_order(self) -> None:
        base = {"host": "h", "role": "r", "address": "127.0.0.1", "type": "argv", "retries": 0}
        checks = parse_checks([base | {"name": f"n{i}", "argv": ["sleep", str(0.5 - i * 0.02)]} for i in range(16)])
        started = time.monotonic()
        results = run_all(checks, {}, 16)
        assert time.monotonic() - started < 2.5, "one after the other they take 5.6 s"
        assert [result.name for result in results] == [f"n{i}" for i in range(16)]
        assert {result.status for result in results} == {"pass"}

    def test_concurrency_is_bounded(self, tmp_path: Path) -> None:
        script = f"mkdir {tmp_path}/run/$$; ls {tmp_path}/run | wc -l; sleep 0.15; rmdir {tmp_path}/run/$$"
        (tmp_path / "run").mkdir()
        base = {"host": "h", "role": "r", "address": "127.0.0.1", "type": "argv", "argv": ["sh", "-c", script], "retries": 0}
        results = run_all(parse_checks([base | {"name": f"n{i}"} for i in range(9)]), {}, 3)
        counts = [int(result.evidence) for result in results]
        assert 1 < max(counts) <= 3

    def test_one_broken_check_does_not_stop_the_others(self) -> None:
        with serving(lambda _connection: None) as port:
            base = {"host": "h", "role": "r", "address": "127.0.0.1", "retries": 0, "timeout": 1}
            checks = parse_checks(
                [
                    base | {"name": "hang", "type": "http", "url": f"http://x:{free_port()}/"},
                    base | {"name": "none", "type": "argv", "argv": ["\x00"]},
                    base | {"name": "good", "type": "tcp", "port": port},
                ]
            )
            results = run_all(checks, {}, 2)
        assert [result.status for result in results] == ["fail", "fail", "pass"]
        assert all(result.reason for result in results[:2])

    def test_results_are_plain_data(self) -> None:
        result = run({"type": "tcp", "port": free_port()})
        data = json.loads(json.dumps(result.as_dict()))
        assert set(data) == {
            "name", "host", "role", "type", "from", "status", "reason", "evidence", "warning", "duration_s", "attempts",
        }  # fmt: skip
        assert Result.from_dict(data) == result
