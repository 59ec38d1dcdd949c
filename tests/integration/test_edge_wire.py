"""The role `edge` over the wire: its templates, a real nginx on loopback, recording upstreams, real clients.

Nothing here reads the configuration back. Every statement is about bytes that a client or an upstream saw.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROLE = Path(__file__).resolve().parents[2] / "roles" / "edge"
NAME = "api.linda.test"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="Debian's package nginx is not installed (requirements/debian-test.txt)")

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "permissions-policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = "max-age=63072000"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def render_tree(destination: Path, inputs: dict[str, Any]) -> None:
    """Render roles/edge/templates/nginx below `destination` with defaults, vars and `inputs`, by Ansible's own engine."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    loader = DataLoader()
    variables: dict[str, Any] = {}
    for part in ("defaults/main.yml", "vars/main.yml"):
        variables |= loader.load_from_file(str(ROLE / part), trusted_as_template=True)
    variables |= inputs
    source = ROLE / "templates" / "nginx"
    templates = sorted(source.rglob("*.j2"))
    assert templates
    for template in templates:
        target = destination / template.relative_to(source).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = trust_as_template(template.read_text())
        target.write_text(Templar(loader=loader, variables=variables).template(text, escape_backslashes=False))


def platform() -> str:
    """Return the code name of the Debian release whose nginx this machine has, told by the version of the binary."""
    version = subprocess.run([str(NGINX), "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/1\.(\d+)", version)
    assert found, version
    return "trixie" if int(found[1]) >= 26 else "bookworm"


class Upstream(http.server.ThreadingHTTPServer):
    """An application that records what reaches it and does what the path says."""

    daemon_threads = True

    def __init__(self, name: str, port: int) -> None:
        """Listen as `name` on 127.0.0.1:`port` and serve from a thread."""
        self.name = name
        self.seen: list[tuple[str, str, dict[str, list[str]]]] = []
        super().__init__(("127.0.0.1", port), Recorder)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening; open connections end with their threads."""
        self.shutdown()
        self.server_close()


class Recorder(http.server.BaseHTTPRequestHandler):
    """/status/N answers N, /hang never answers, /cut closes after the request was read, anything else answers 200."""

    protocol_version = "HTTP/1.1"
    server: Upstream

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""

    def answer(self) -> None:
        """Record the request, then behave."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers: dict[str, list[str]] = collections.defaultdict(list)
        for key, value in self.headers.items():
            headers[key.lower()].append(value)
        self.server.seen.append((self.command, self.path, headers))
        if self.path.startswith("/hang"):
            time.sleep(4)
        if self.path.startswith(("/cut", "/hang")):
            self.close_connection = True
            return
        if headers.get("upgrade") == ["websocket"]:
            key = headers["sec-websocket-key"][0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode())
            self.send_header("X-Upstream", self.server.name)
            self.end_headers()
            self.close_connection = True
            return
        status = int(self.path.split("/")[2].split("?")[0]) if self.path.startswith("/status/") else 200
        text = json.dumps({"upstream": self.server.name, "size": len(body)}).encode()
        self.send_response(status)
        self.send_header("X-Upstream", self.server.name)
        self.send_header("X-Powered-By", "a chatty framework")
        self.send_header("X-Frame-Options", "ALLOWALL")
        if status not in {204, 304}:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD" and status not in {204, 304}:
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer


@dataclass
class Answer:
    """One response as the client saw it: header names in lower case, all values of a name in order."""

    status: int
    headers: dict[str, list[str]]
    body: bytes = b""


@dataclass
class Edge:
    """A running nginx of the role, its two ports, its upstreams and its log."""

    http: int
    https: int
    directory: Path
    upstreams: list[Upstream] = field(default_factory=list)

    def context(self) -> ssl.SSLContext:
        """Return a client context that trusts the edge's certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.directory / "certificate.pem"))

    def connect(self, tls: bool = True) -> socket.socket:
        """Open a connection to the TLS port (with the site's name) or to the plain one."""
        plain = socket.create_connection(("127.0.0.1", self.https if tls else self.http), timeout=15)
        return self.context().wrap_socket(plain, server_hostname=NAME) if tls else plain

    def raw(self, request: bytes, tls: bool = True, wrap: bool = True) -> bytes:
        """Send bytes as they are and return everything the edge says until it closes. `wrap=False` speaks plain text to the TLS port."""
        with self.connect(tls) if wrap else socket.create_connection(("127.0.0.1", self.https), timeout=15) as connection:
            connection.sendall(request)
            chunks = []
            with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                while chunk := connection.recv(65536):
                    chunks.append(chunk)
        return b"".join(chunks)

    def ask(self, method: str = "GET", path: str = "/", tls: bool = True, body: bytes | None = None, **headers: str) -> Answer:
        """Make one request; underscores in header names stand for hyphens."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1")) as client:
            client.sock = self.connect(tls)
            named = {"Host": NAME} | {key.replace("_", "-"): value for key, value in headers.items()}
            client.request(method, path, body=body, headers=named)
            response = client.getresponse()
            found: dict[str, list[str]] = collections.defaultdict(list)
            for key, value in response.getheaders():
                found[key.lower()].append(value)
            return Answer(response.status, found, response.read() if response.status != 101 else b"")

    def seen(self) -> list[tuple[str, str, dict[str, list[str]]]]:
        """Return what reached any upstream, oldest first within an upstream."""
        return [request for upstream in self.upstreams for request in upstream.seen]

    def log(self, path: str) -> dict[str, Any]:
        """Return the access log's line of the only request for `path`, waiting for nginx to write it."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            lines = [json.loads(line) for line in (self.directory / "log" / "access.log").read_text().splitlines()]
            if found := [line for line in lines if line["uri"] == path]:
                assert len(found) == 1
                return dict(found[0])
            time.sleep(0.05)
        raise AssertionError(f"no line for {path}")


def parse(data: bytes) -> Answer:
    """Parse one raw HTTP/1 response."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    found: dict[str, list[str]] = collections.defaultdict(list)
    for line in lines:
        key, _, value = line.partition(":")
        found[key.strip().lower()].append(value.strip())
    return Answer(int(first.split()[1]), found, body)


@contextlib.contextmanager
def running(directory: Path, names: tuple[str, ...] = ("a", "b"), **inputs: Any) -> Iterator[Edge]:
    """Start upstreams and an nginx with the rendered tree; stop both whatever happens."""
    http_port, https_port, *ports = free_ports(2 + len(names))
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={NAME}"
        f" -addext subjectAltName=DNS:{NAME} -keyout key.pem -out certificate.pem".split(),
        cwd=directory,
        check=True,
        capture_output=True,
    )
    (directory / "log").mkdir()
    tree = directory / "nginx"
    render_tree(
        tree,
        {
            "ansible_facts": {"distribution_release": platform()},
            "edge_server_names": [NAME, "www.linda.test"],
            "edge_http_port": http_port,
            "edge_https_port": https_port,
            "edge_certificate_file": str(directory / "certificate.pem"),
            "edge_certificate_key_file": str(directory / "key.pem"),
            "edge_upstreams": [{"name": name, "address": f"127.0.0.1:{port}"} for name, port in zip(names, ports, strict=True)],
            "__edge_log_directory": str(directory / "log"),
            "__edge_pid_file": str(directory / "nginx.pid"),
        }
        | inputs,
    )
    command = [str(NGINX), "-p", str(tree), "-c", "nginx.conf"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr, checked.stderr
    edge = Edge(http_port, https_port, directory, [Upstream(name, port) for name, port in zip(names, ports, strict=True)])
    daemon = subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", https_port), timeout=1):
                break
            time.sleep(0.05)
        yield edge
    finally:
        daemon.terminate()
        daemon.wait(10)
        if daemon.stderr:
            daemon.stderr.close()
        for upstream in edge.upstreams:
            upstream.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """One edge with two upstreams for all tests that leave it as it was."""
    directory = tmp_path_factory.mktemp("edge")
    with running(directory, edge_max_body_size="1k", edge_read_timeout=1, edge_upstream_max_fails=0) as edge:
        yield edge


@pytest.fixture
def edge(shared: Edge) -> Edge:
    """The shared edge with nothing recorded yet."""
    for upstream in shared.upstreams:
        upstream.seen.clear()
    return shared


def host(request: str, name: str = NAME, more: str = "") -> bytes:
    """Return a raw HTTP/1.1 request that closes after its answer."""
    return f"{request} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n{more}\r\n".encode()


RAW_CASES = {
    "200 application": (host("GET /"), 200),
    "204 application": (host("GET /status/204"), 204),
    "304 application": (host("GET /status/304"), 304),
    "400 request line": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "400 no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "400 host with @": (host("GET /", f"{NAME}:443@evil.example"), 400),
    "400 large header": (host("GET /", more="X-Large: " + "x" * 9000 + "\r\n"), 400),
    "401 application": (host("GET /status/401"), 401),
    "403 application": (host("GET /status/403"), 403),
    "404 application": (host("GET /status/404"), 404),
    "405 TRACE": (host("TRACE /"), 405),
    "405 application": (host("GET /status/405"), 405),
    "413 body": (host("POST /", more="Content-Length: 5000\r\n"), 413),
    "414 uri": (host("GET /" + "x" * 9000), 414),
    "421 other name": (host("GET /", "other.example"), 421),
    "421 name with @": (host("GET /", f"{NAME}@evil.example"), 421),
    "429 application": (host("GET /status/429"), 429),
    "500 application": (host("GET /status/500"), 500),
    "501 transfer coding": (host("POST /", more="Transfer-Encoding: gzip\r\n"), 501),
    "502 cut": (host("POST /cut", more="Content-Length: 0\r\n"), 502),
    "503 application": (host("GET /status/503"), 503),
    "504 hang": (host("POST /hang", more="Content-Length: 0\r\n"), 504),
    "505 version": (b"GET / HTTP/3.0\r\nHost: " + NAME.encode() + b"\r\n\r\n", 505),
}


@pytest.mark.parametrize("case", RAW_CASES)
def test_headers_on_every_status(edge: Edge, case: str) -> None:
    request, status = RAW_CASES[case]
    answer = parse(edge.raw(request))
    assert answer.status == status
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.get(name) == [value], name
    assert answer.headers.get("strict-transport-security") == [HSTS]
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"][0])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-trace-id"][0])


@pytest.mark.parametrize(
    ("request_bytes", "status"), [(host("GET /x?y=1"), 301), (host("GET /", "other.example"), 421), (host("GET /", f"{NAME}:80@evil"), 400)]
)
def test_headers_without_tls(edge: Edge, request_bytes: bytes, status: int) -> None:
    answer = parse(edge.raw(request_bytes, tls=False))
    assert answer.status == status
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.get(name) == [value], name
    assert "strict-transport-security" not in answer.headers
    assert "server" not in answer.headers
    assert not edge.seen()


def test_plain_text_on_the_tls_port(edge: Edge) -> None:
    answer = parse(edge.raw(host("GET /"), wrap=False))
    assert answer.status == 400
    assert answer.headers["x-content-type-options"] == ["nosniff"]
    assert not edge.seen()


def test_redirect_keeps_path_and_query(edge: Edge) -> None:
    answer = edge.ask(path="/a%20b/?x=1&y=%0d%0a", tls=False)
    assert answer.status == 301
    assert answer.headers["location"] == [f"https://{NAME}:{edge.https}/a%20b/?x=1&y=%0d%0a"]


def test_health_is_local(edge: Edge) -> None:
    answers = [
        edge.ask(path="/edge-health"),
        edge.ask(path="/edge-health", tls=False),
        edge.ask(path="/edge-health", tls=False, Host="127.0.0.1"),
    ]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok\n")] * 3
    assert not edge.seen()


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("line", [b"GET /\r\n", b"GET /edge-health\r\n", b"GET /status/200\r\n\r\n"])
def test_http_0_9_is_refused(edge: Edge, tls: bool, line: bytes) -> None:
    assert edge.raw(line, tls=tls) == b""
    assert not edge.seen()


@pytest.mark.parametrize(
    "name",
    [
        f"user@{NAME}",
        f"{NAME}@evil",
        f"{NAME}:@evil",
        f"{NAME}:443@evil",
        f"{NAME}:x",
        f"{NAME}:443:80",
        f"{NAME}, evil",
        f"{NAME}#x",
        "..",
        "[::1",
        f"-{NAME}",
    ],
)
def test_ambiguous_host_reaches_nobody(edge: Edge, name: str) -> None:
    assert parse(edge.raw(host("GET /", name))).status in {400, 421}
    assert not edge.seen()


@pytest.mark.parametrize("name", [NAME, NAME.upper(), f"{NAME}:8443", f"{NAME}.", "www.linda.test"])
def test_served_hosts_reach_the_application_in_one_form(edge: Edge, name: str) -> None:
    assert parse(edge.raw(host("GET /", name))).status == 200
    ((_, _, headers),) = edge.seen()
    assert headers["host"] == [name.lower().removesuffix(":8443").removesuffix(".")]


def test_unknown_name_gets_no_certificate(edge: Edge) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name in ("other.example", None):
        with socket.create_connection(("127.0.0.1", edge.https)) as plain, pytest.raises(ssl.SSLError, match=r"UNRECOGNIZED_NAME|alert"):
            context.wrap_socket(plain, server_hostname=name)


def s_client(edge: Edge, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Shake hands with openssl's client, with every protocol and suite of the library allowed."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.https}", "-servername", NAME, *arguments]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)


def test_tls_floor_and_suites(edge: Edge) -> None:
    for old in ("-tls1", "-tls1_1"):
        refused = s_client(edge, old, "-cipher", "ALL:@SECLEVEL=0")
        assert refused.returncode != 0
        assert "Cipher is (NONE)" in refused.stdout
    for weak in ("AES128-SHA:AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384", "aNULL:eNULL"):
        assert "Cipher is (NONE)" in s_client(edge, "-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0").stdout
    for suite in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
        assert f"Cipher is {suite}" in s_client(edge, "-tls1_2", "-cipher", suite).stdout
    assert "TLSv1.3" in s_client(edge, "-tls1_3").stdout
    assert "Server Temp Key: X25519" in s_client(edge, "-tls1_3", "-groups", "X25519").stdout


def test_no_session_tickets(edge: Edge) -> None:
    assert "TLS session ticket:" not in s_client(edge, "-tls1_2").stdout


def test_http_2(edge: Edge) -> None:
    curl = ["curl", "-sS", "-D", "-", "-o", "/dev/null", "--cacert", str(edge.directory / "certificate.pem")]
    curl += ["--resolve", f"{NAME}:{edge.https}:127.0.0.1", "--http2"]
    for path, status in (("/", 200), ("/status/404", 404), ("/edge-health", 200)):
        text = subprocess.run([*curl, f"https://{NAME}:{edge.https}{path}"], capture_output=True, text=True, check=True).stdout
        assert text.startswith(f"HTTP/2 {status}")
        for name, value in SECURITY_HEADERS.items():
            assert f"{name}: {value}" in text.splitlines()
    refused = subprocess.run(
        [*curl, "-H", f"Host: {NAME}:443@evil", f"https://{NAME}:{edge.https}/"], capture_output=True, text=True, check=True
    ).stdout
    assert refused.startswith("HTTP/2 400")


def test_trace_is_passed_on(edge: Edge) -> None:
    answer = edge.ask(path="/trace-1", Traceparent=TRACEPARENT, Tracestate="vendor=1")
    ((_, _, headers),) = edge.seen()
    assert headers["traceparent"] == [TRACEPARENT]
    assert headers["tracestate"] == ["vendor=1"]
    assert answer.headers["x-trace-id"] == [TRACE]
    assert headers["x-request-id"] == answer.headers["x-request-id"]
    line = edge.log("/trace-1")
    assert line["trace_id"] == TRACE
    assert line["request_id"] == answer.headers["x-request-id"][0]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        TRACEPARENT.upper(),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        TRACEPARENT + "-x",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
    ],
)
def test_trace_is_made_where_there_is_none(edge: Edge, bad: str) -> None:
    answer = edge.ask(Traceparent=bad, Tracestate="vendor=1") if bad else edge.ask()
    ((_, _, headers),) = edge.seen()
    (made,) = headers["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", made)
    assert made.split("-")[1] == answer.headers["x-trace-id"][0] != TRACE
    assert "tracestate" not in headers


def test_forged_headers_do_not_pass(edge: Edge) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Real-IP": "203.0.113.7",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Request-Id": "mine",
        "Forwarded": "for=203.0.113.7",
        "X-Original-URL": "/admin",
        "X-Rewrite-URL": "/admin",
        "X-Client-IP": "203.0.113.7",
        "True-Client-IP": "203.0.113.7",
        "Proxy": "http://evil.example",
        "X_Forwarded_For": "203.0.113.7",
    }
    edge.raw(host("GET /forged", more="".join(f"{name}: {value}\r\n" for name, value in forged.items())))
    ((_, _, headers),) = edge.seen()
    assert "203.0.113.7" not in str(headers)
    assert "evil.example" not in str(headers)
    assert "/admin" not in str(headers)
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["https"]
    assert headers["x-forwarded-host"] == [NAME]
    assert edge.log("/forged")["client"] == "127.0.0.1"


def test_h2c_upgrade_is_not_passed(edge: Edge) -> None:
    for path in ("/", "/ws"):
        edge.raw(host(f"GET {path}", more="Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"))
    assert len(edge.seen()) == 2
    assert all("upgrade" not in headers for _, _, headers in edge.seen())


def test_log_line_is_json_and_carries_no_query(edge: Edge) -> None:
    edge.ask(path="/logged?token=secret", User_Agent='quote " and \\')
    line = edge.log("/logged")
    assert line["status"] == 200
    assert line["host"] == NAME
    assert float(line["upstream_seconds"]) >= 0
    assert line["upstream"].startswith("127.0.0.1:")
    assert line["user_agent"] == 'quote " and \\'
    assert "secret" not in (edge.directory / "log" / "access.log").read_text()


def test_log_stays_json_whatever_is_sent(edge: Edge) -> None:
    edge.raw(b"GET /\xff\xfe HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\nUser-Agent: \xe9\x80\r\nConnection: close\r\n\r\n")
    edge.raw(b"GET / HTTP/1.1\r\nHost: \xe9\xff\r\nConnection: close\r\n\r\n")
    assert edge.log("(not ASCII)")["user_agent"] == "(not ASCII)"
    for line in (edge.directory / "log" / "access.log").read_bytes().splitlines():
        assert json.loads(line.decode("ascii"))


def test_hidden_paths_stay_inside(edge: Edge) -> None:
    for path in ("/metrics", "//metrics", "/%6detrics", "/x/../metrics", "/metrics?x=1"):
        answer = edge.ask(path=path)
        assert answer.status == 404
        assert answer.headers["x-frame-options"] == ["DENY"]
    assert not edge.seen()


def test_round_robin(edge: Edge) -> None:
    counts = collections.Counter(edge.ask().headers["x-upstream"][0] for _ in range(40))
    assert counts == {"a": 20, "b": 20}


WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_websocket_is_sticky(edge: Edge) -> None:
    homes = collections.Counter()
    for _ in range(24):
        first = edge.ask(path="/ws", **WEBSOCKET)
        assert first.status == 101
        assert first.headers["strict-transport-security"] == [HSTS]
        (cookie,) = first.headers["set-cookie"]
        assert re.fullmatch(r"edge_sid=[0-9a-f]{32}; Path=/; HttpOnly; Secure; SameSite=Lax", cookie)
        home = first.headers["x-upstream"]
        homes[home[0]] += 1
        for _ in range(3):
            again = edge.ask(path="/ws", Cookie=cookie.split(";")[0], **WEBSOCKET)
            assert again.headers["x-upstream"] == home
            assert "set-cookie" not in again.headers
    assert set(homes) == {"a", "b"}


def test_forged_sticky_cookie_is_replaced(edge: Edge) -> None:
    answer = edge.ask(path="/ws", Cookie="edge_sid=../../x", **WEBSOCKET)
    assert answer.status == 101
    assert answer.headers["set-cookie"][0].startswith("edge_sid=")


def test_loss_of_a_server(tmp_path: Path) -> None:
    with running(tmp_path, ("a", "b", "c")) as edge:
        cookies = {}
        for _ in range(30):
            answer = edge.ask(path="/ws", **WEBSOCKET)
            cookies[answer.headers["set-cookie"][0].split(";")[0]] = answer.headers["x-upstream"][0]
        assert set(cookies.values()) == {"a", "b", "c"}
        edge.upstreams[0].stop()
        assert {edge.ask().status for _ in range(60)} == {200}
        assert {edge.ask("POST", body=b"x").status for _ in range(20)} == {200}
        for cookie, home in cookies.items():
            now = edge.ask(path="/ws", Cookie=cookie, **WEBSOCKET).headers["x-upstream"][0]
            assert now == home if home != "a" else now in {"b", "c"}


def test_retries_are_bounded_and_never_repeat_a_post(tmp_path: Path) -> None:
    with running(tmp_path, ("a", "b", "c"), edge_upstream_max_fails=0) as edge:
        assert edge.ask(path="/cut").status == 502
        assert len(edge.seen()) == 2
        for method in ("POST", "PATCH"):
            assert edge.ask(method, f"/cut/{method}", body=b"once").status == 502
            assert len([1 for _, path, _ in edge.seen() if path == f"/cut/{method}"]) == 1


def test_client_address_from_a_listed_proxy(tmp_path: Path) -> None:
    with running(tmp_path, edge_trusted_proxies=["127.0.0.1/32", "203.0.113.0/24"]) as edge:
        edge.ask(path="/chain", X_Forwarded_For="198.51.100.1, 198.51.100.2, 203.0.113.9")
        ((_, _, headers),) = edge.seen()
        assert headers["x-forwarded-for"] == ["198.51.100.2"]
        line = edge.log("/chain")
        assert (line["client"], line["peer"]) == ("198.51.100.2", "127.0.0.1")


def test_alternative_inputs(tmp_path: Path) -> None:
    inputs: dict[str, Any] = {
        "edge_http2": False,
        "edge_ipv6": False,
        "edge_balance": "least_conn",
        "edge_websocket_paths": [],
        "edge_retry_on": [],
        "edge_hsts_max_age": 300,
        "edge_hsts_subdomains": True,
        "edge_hsts_preload": True,
        "edge_security_headers": {"X-Said": 'a "quoted" \\ value'},
        "edge_log_query": True,
    }
    with running(tmp_path, **inputs) as edge:
        answer = edge.ask(path="/query?x=1")
        assert answer.status == 200
        assert answer.headers["strict-transport-security"] == ["max-age=300; includeSubDomains; preload"]
        assert answer.headers["x-said"] == ['a "quoted" \\ value']
        assert answer.headers["x-frame-options"] == ["ALLOWALL"]
        assert edge.log("/query?x=1")["status"] == 200
        assert edge.ask(path="/ws", **WEBSOCKET).status == 200
        assert edge.ask(path="/cut").status == 502
        assert len([1 for _, path, _ in edge.seen() if path == "/cut"]) == 1
