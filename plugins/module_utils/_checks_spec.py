# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The check format: one typed class per check type, and the parser that refuses everything else.

Pure: no I/O, standard library only. The format is described for people in docs/service-descriptor.md.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import urlsplit

from ansible_collections.linda.ops.plugins.module_utils._checks_jsonpath import parse_path
from ansible_collections.linda.ops.plugins.module_utils._fields import Reader, closest, shown

CONTROLLER = "controller"
SELF = "self"
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

NAME = r"[a-z0-9][a-z0-9_.-]*"
NAME_WORDING = "a name (lower case letters, digits, and . _ - inside)"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_HEADER = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class InvalidCheck(ValueError):
    """One or more checks are misconfigured. `problems` holds one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Check:
    """What every check has. Times are in seconds; `retries` come on top of the first attempt."""

    name: str
    host: str
    role: str
    type: str
    origin: str
    address: str
    timeout: float
    retries: int
    pause: float
    sensitive: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells one check of a fleet from all others."""
        return (self.host, self.role, self.name)

    def secret_variables(self) -> tuple[str, ...]:
        """Names of the host's variables that hold the secrets this check needs."""
        return ()


@dataclass(frozen=True, kw_only=True)
class TcpCheck(Check):
    """The port accepts a connection."""

    port: int


@dataclass(frozen=True, kw_only=True)
class TlsCheck(Check):
    """The certificate is good for every name, lasts, and no protocol below the floor is spoken."""

    port: int
    server_names: tuple[str, ...]
    ca_file: str | None
    ca_pem: str | None
    min_version: str
    warn_days: int
    fail_days: int


@dataclass(frozen=True, kw_only=True)
class HttpCheck(Check):
    """One request, its answer compared. `expect_headers` and `body_regex` are searched, the rest is equality."""

    url: str
    method: str
    headers: Mapping[str, str]
    body: str | None
    status: tuple[int, ...]
    expect_headers: Mapping[str, str]
    absent_headers: tuple[str, ...]
    location: str | None
    body_regex: str | None
    expect_json: Mapping[str, object]
    ca_file: str | None
    ca_pem: str | None
    username: str | None
    password_variable: str | None
    bearer_variable: str | None

    def secret_variables(self) -> tuple[str, ...]:
        return tuple(name for name in (self.password_variable, self.bearer_variable) if name)


@dataclass(frozen=True, kw_only=True)
class WebsocketCheck(Check):
    """The upgrade is answered, a ping comes back, and a message is answered as expected."""

    url: str
    headers: Mapping[str, str]
    subprotocol: str | None
    status: int
    send: str | None
    expect: str | None
    ca_file: str | None
    ca_pem: str | None


@dataclass(frozen=True, kw_only=True)
class MongodbMember:
    """A member by the name the replica set knows it by, and the address to reach it at when that name does not resolve."""

    host: str
    address: str | None


@dataclass(frozen=True, kw_only=True)
class MongodbServerCheck(Check):
    """What is needed to ask a mongod."""

    port: int
    username: str | None
    password_variable: str | None
    auth_source: str
    tls: bool
    ca_file: str | None
    ca_pem: str | None

    def secret_variables(self) -> tuple[str, ...]:
        return (self.password_variable,) if self.password_variable else ()


@dataclass(frozen=True, kw_only=True)
class MongodbCheck(MongodbServerCheck):
    """The replica set has a primary, its members are healthy and close, and a majority write succeeds."""

    replica_set: str | None
    members: tuple[MongodbMember, ...]
    max_lag: float
    oplog_window_hours: float
    write_database: str | None


@dataclass(frozen=True, kw_only=True)
class MongodbPoolCheck(MongodbServerCheck):
    """Each client has `processes` pools here of `min_size` to `max_size` connections logged in as `user`."""

    user: str
    clients: tuple[str, ...]
    processes: int
    min_size: int
    max_size: int


@dataclass(frozen=True, kw_only=True)
class MongodbIndex:
    """An index by its collection (database.collection), name and keys in order."""

    collection: str
    name: str
    keys: tuple[tuple[str, object], ...]


@dataclass(frozen=True, kw_only=True)
class MongodbIndexesCheck(MongodbServerCheck):
    """The member has these indexes, each under its name or another one, and built."""

    indexes: tuple[MongodbIndex, ...]


@dataclass(frozen=True, kw_only=True)
class UnitCheck(Check):
    """The systemd unit is in the wanted state; None means that it does not matter."""

    unit: str
    active: bool | None
    enabled: bool | None


@dataclass(frozen=True, kw_only=True)
class ArgvCheck(Check):
    """The command ends with one of the exit codes and its output matches. No shell."""

    argv: tuple[str, ...]
    exit_codes: tuple[int, ...]
    stdout_regex: str | None
    stderr_regex: str | None


class _Common(TypedDict):
    name: str
    host: str
    role: str
    type: str
    origin: str
    address: str
    timeout: float
    retries: int
    pause: float
    sensitive: bool


def _ca(reader: Reader) -> tuple[str | None, str | None]:
    ca_file, ca_pem = reader.optional_text("ca_file"), reader.optional_text("ca_pem")
    if ca_file is not None and ca_pem is not None:
        reader.complain("ca_pem", "and ca_file are both given: keep one")
    if ca_file is not None and not ca_file.startswith("/"):
        reader.complain("ca_file", f"= {shown(ca_file)} is not an absolute path")
    if ca_pem is not None and "-----BEGIN CERTIFICATE-----" not in ca_pem:
        reader.complain("ca_pem", "holds no PEM certificate")
    return ca_file, ca_pem


def _url(reader: Reader, schemes: tuple[str, ...]) -> str:
    url = reader.text("url", required=True)
    if not url:
        return url
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(character.isspace() or not character.isprintable() for character in url):
        reader.complain("url", f"= {shown(url)} is not an absolute {' or '.join(schemes)} address")
    elif parts.username is not None:
        reader.complain("url", "carries a login: use username and password_variable")
    elif not url.isascii():
        reader.complain("url", f"= {shown(url)} must be ASCII: escape its path and write its name in punycode")
    return url


def _headers(reader: Reader, field: str, found: Iterable[str]) -> None:
    for name in found:
        if not name or set(name) - _HEADER:
            reader.complain(field, f"names {shown(name)}, which is not a header name")


def _request_headers(reader: Reader) -> dict[str, str]:
    headers = reader.text_mapping("headers")
    _headers(reader, "headers", headers)
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            reader.complain(f"headers.{name}", "has a character that a header cannot carry")
        if name.lower() in ("authorization", "cookie", "proxy-authorization"):
            reader.complain(f"headers.{name}", "would put a secret into the descriptor: use username, password_variable or bearer_variable")
    return headers


def _variable(reader: Reader, field: str) -> str | None:
    return reader.optional_text(field, pattern=_VARIABLE, wording="the name of a variable")


def _login(reader: Reader) -> tuple[str | None, str | None]:
    username, password = reader.optional_text("username"), _variable(reader, "password_variable")
    if (username is None) != (password is None):
        reader.complain("username", "and password_variable come together")
    return username, password


def _tcp(reader: Reader, common: _Common) -> Check:
    return TcpCheck(port=reader.port("port", required=True), **common)


def _tls(reader: Reader, common: _Common) -> Check:
    names = reader.texts("server_names")
    warn = reader.integer("warn_days", default=21, low=0, high=3650)
    fail = reader.integer("fail_days", default=7, low=0, high=3650)
    if fail > warn:
        reader.complain("fail_days", f"= {fail} is above warn_days = {warn}")
    ca_file, ca_pem = _ca(reader)
    return TlsCheck(
        port=reader.port("port", default=443),
        server_names=names or (common["address"],),
        ca_file=ca_file,
        ca_pem=ca_pem,
        min_version=reader.text("min_version", default="TLSv1.2", choices=TLS_VERSIONS),
        warn_days=warn,
        fail_days=fail,
        **common,
    )


def _http(reader: Reader, common: _Common) -> Check:
    body = reader.optional_text("body", empty=True)
    headers = _request_headers(reader)
    if reader.has("json"):
        if body is not None:
            reader.complain("json", "and body are both given: keep one")
        try:
            body = json.dumps(reader.anything("json"))
        except (TypeError, ValueError):
            reader.complain("json", "cannot be written as JSON")
        if "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = "application/json"
    expect_headers = reader.text_mapping("expect_headers", regex=True)
    absent = reader.texts("absent_headers")
    _headers(reader, "expect_headers", expect_headers)
    _headers(reader, "absent_headers", absent)
    for name in {name.lower() for name in absent} & {name.lower() for name in expect_headers}:
        reader.complain("absent_headers", f"and expect_headers both name {name}")
    expect_json = reader.mapping("expect_json")
    for path in expect_json:
        try:
            parse_path(path)
        except ValueError as problem:
            reader.complain("expect_json", str(problem))
    username, password = _login(reader)
    bearer = _variable(reader, "bearer_variable")
    if bearer is not None and username is not None:
        reader.complain("bearer_variable", "and username are both given: keep one")
    url = _url(reader, ("http", "https"))
    ca_file, ca_pem = _ca(reader)
    return HttpCheck(
        url=url,
        method=reader.text("method", default="GET", choices=METHODS),
        headers=headers,
        body=body,
        status=reader.integers("status", default=(200,), low=100, high=599),
        expect_headers=expect_headers,
        absent_headers=absent,
        location=reader.optional_text("location"),
        body_regex=reader.regex("body_regex"),
        expect_json=expect_json,
        ca_file=ca_file,
        ca_pem=ca_pem,
        username=username,
        password_variable=password,
        bearer_variable=bearer,
        **common,
    )


def _websocket(reader: Reader, common: _Common) -> Check:
    ca_file, ca_pem = _ca(reader)
    send, expect = reader.optional_text("send"), reader.regex("expect")
    status = reader.integer("status", default=101, low=100, high=599)
    if status != 101 and (send is not None or expect is not None):
        reader.complain("status", f"= {status} means no WebSocket, so send and expect make no sense")
    return WebsocketCheck(
        url=_url(reader, ("ws", "wss")),
        headers=_request_headers(reader),
        subprotocol=reader.optional_text("subprotocol"),
        status=status,
        send=send,
        expect=expect,
        ca_file=ca_file,
        ca_pem=ca_pem,
        **common,
    )


def _members(reader: Reader) -> tuple[MongodbMember, ...]:
    members: list[MongodbMember] = []
    for index, raw in enumerate(reader.items("members")):
        member = Reader({"host": raw} if isinstance(raw, str) else raw, f"{reader.where}: members[{index}]", reader.problems)
        host = member.text("host", required=True, pattern=r"[^\s:]+:\d{1,5}", wording="a name with a port (mongo1.example.net:27017)")
        address = member.optional_text("address", pattern=r"\S+:\d{1,5}", wording="an address with a port (192.0.2.7:27017)")
        member.finish()
        members.append(MongodbMember(host=host, address=address))
    if len({member.host for member in members}) != len(members):
        reader.complain("members", "names a member twice")
    return tuple(members)


class _MongodbServer(TypedDict):
    port: int
    username: str | None
    password_variable: str | None
    auth_source: str
    tls: bool
    ca_file: str | None
    ca_pem: str | None


def _mongodb_server(reader: Reader) -> _MongodbServer:
    username, password = _login(reader)
    ca_file, ca_pem = _ca(reader)
    tls = reader.boolean("tls", default=True)
    if not tls and (ca_file or ca_pem):
        reader.complain("tls", "is false, so ca_file and ca_pem make no sense")
    return {
        "port": reader.port("port", default=27017),
        "username": username,
        "password_variable": password,
        "auth_source": reader.text("auth_source", default="admin"),
        "tls": tls,
        "ca_file": ca_file,
        "ca_pem": ca_pem,
    }


def _mongodb_pool(reader: Reader, common: _Common) -> Check:
    low = reader.integer("min_size", default=10, low=0, high=10000)
    high = reader.integer("max_size", default=100, low=1, high=10000)
    if low > high:
        reader.complain("min_size", f"= {low} is above max_size = {high}")
    clients: list[str] = []
    for index, client in enumerate(reader.texts("clients", required=True)):
        try:
            clients.append(str(ipaddress.ip_address(client)))
        except ValueError:
            reader.complain(f"clients[{index}]", f"= {shown(client)} is not an address, and the server knows its clients by address only")
    if len(set(clients)) != len(clients):
        reader.complain("clients", "names an address twice")
    return MongodbPoolCheck(
        user=reader.text("user", required=True),
        clients=tuple(clients),
        processes=reader.integer("processes", default=1, low=1, high=1000),
        min_size=low,
        max_size=high,
        **_mongodb_server(reader),
        **common,
    )


def _mongodb_indexes(reader: Reader, common: _Common) -> Check:
    indexes: list[MongodbIndex] = []
    for place, raw in enumerate(reader.items("indexes", required=True)):
        index = Reader(raw, f"{reader.where}: indexes[{place}]", reader.problems)
        collection = index.text("collection", required=True, pattern=r"[^.]+\..+", wording="database.collection (linda.users)")
        name = index.text("name", required=True)
        keys: list[tuple[str, object]] = []
        for key in index.items("keys", required=True):
            if not isinstance(key, Mapping) or len(key) != 1:
                index.complain("keys", f"has {shown(key)}, not a mapping of one field such as {{user_id: 1}}")
                continue
            keys += [(str(field), value) for field, value in key.items()]
        index.finish()
        indexes.append(MongodbIndex(collection=collection, name=name, keys=tuple(keys)))
    return MongodbIndexesCheck(indexes=tuple(indexes), **_mongodb_server(reader), **common)


def _mongodb(reader: Reader, common: _Common) -> Check:
    return MongodbCheck(
        replica_set=reader.optional_text("replica_set"),
        members=_members(reader),
        max_lag=reader.number("max_lag", default=10, low=0, high=86400),
        oplog_window_hours=reader.number("oplog_window_hours", default=0, low=0, high=8760),
        write_database=reader.optional_text(
            "write_database", pattern=r"(?!(admin|local|config)$)[A-Za-z0-9_-]{1,60}", wording="the name of a database for scratch data"
        ),
        **_mongodb_server(reader),
        **common,
    )


def _wanted(reader: Reader, field: str) -> bool | None:
    if reader.anything(field) == "any":
        return None
    return reader.boolean(field, default=True)


def _unit(reader: Reader, common: _Common) -> Check:
    return UnitCheck(
        unit=reader.text(
            "unit",
            required=True,
            pattern=r"[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|target|mount|path|slice)",
            wording="a unit with its suffix (nginx.service)",
        ),
        active=_wanted(reader, "active"),
        enabled=_wanted(reader, "enabled"),
        **common,
    )


def _argv(reader: Reader, common: _Common) -> Check:
    return ArgvCheck(
        argv=reader.texts("argv", required=True),
        exit_codes=reader.integers("exit_codes", default=(0,), low=0, high=255),
        stdout_regex=reader.regex("stdout_regex"),
        stderr_regex=reader.regex("stderr_regex"),
        **common,
    )


_PARSERS: dict[str, Callable[[Reader, _Common], Check]] = {
    "tcp": _tcp,
    "tls": _tls,
    "http": _http,
    "websocket": _websocket,
    "mongodb": _mongodb,
    "mongodb_pool": _mongodb_pool,
    "mongodb_indexes": _mongodb_indexes,
    "unit": _unit,
    "argv": _argv,
}
TYPES = tuple(_PARSERS)


def parse_check(raw: object, where: str, problems: list[str]) -> Check | None:
    """Read one check.

    `raw` is the mapping of a descriptor with `host`, `role` and `address` filled in; `where` names it for people;
    every problem is appended to `problems`. Returns None when there was one.
    """
    before = len(problems)
    reader = Reader(raw, where, problems)
    if len(problems) > before:
        return None
    name = reader.text("name", required=True, pattern=NAME, wording=NAME_WORDING)
    if name:
        reader.where = f"{where} ({name})"
    kind = reader.text("type", required=True)
    parser = _PARSERS.get(kind)
    if parser is None:
        if kind:
            reader.complain("type", f"= {shown(kind)} is not one of {', '.join(TYPES)}{closest(kind, TYPES)}")
        return None
    common: _Common = {
        "name": name,
        "host": reader.text("host", required=True),
        "role": reader.text("role", required=True),
        "type": kind,
        "origin": reader.text("from", default=SELF if kind in ("unit", "argv") else CONTROLLER, choices=(CONTROLLER, SELF)),
        "address": reader.text("address", required=True, pattern=r"[A-Za-z0-9.:_-]+", wording="an address or a name"),
        "timeout": reader.number("timeout", default=5, low=0.05, high=600),
        "retries": reader.integer("retries", default=2, low=0, high=100),
        "pause": reader.number("pause", default=1, low=0, high=60),
        "sensitive": reader.boolean("sensitive", default=False),
    }
    if kind == "unit" and common["origin"] == CONTROLLER:
        reader.complain("from", "= 'controller': a unit is seen from its own host, leave `from` out")
    check = parser(reader, common)
    reader.finish()
    return check if len(problems) == before else None


def with_default_authority(raw: object, ca_file: str | None) -> object:
    """The raw check with `ca_file` filled in where it verifies certificates and names no authority itself."""
    if ca_file is None or not isinstance(raw, Mapping) or raw.get("ca_file") is not None or raw.get("ca_pem") is not None:
        return raw
    if raw.get("type") not in ("tls", "http", "websocket", "mongodb", "mongodb_pool", "mongodb_indexes") or raw.get("tls") is False:
        return raw
    return {**raw, "ca_file": ca_file}


def parse_checks(raws: Iterable[object], where: str = "checks") -> list[Check]:
    """Read the checks of a fleet; raises InvalidCheck with all problems, also for two checks with one key."""
    problems: list[str] = []
    checks: list[Check] = []
    seen: set[tuple[str, str, str]] = set()
    for index, raw in enumerate(raws):
        place = f"{where}[{index}]"
        if isinstance(raw, Mapping) and raw.get("host") and raw.get("role"):
            place = f"host {raw['host']}, role {raw['role']}, {place}"
        check = parse_check(raw, place, problems)
        if check is None:
            continue
        if check.key in seen:
            problems.append(f"{place}: host {check.host}, role {check.role} has two checks named {check.name}")
        seen.add(check.key)
        checks.append(check)
    if problems:
        raise InvalidCheck(problems)
    return checks
