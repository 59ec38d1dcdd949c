# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the connection URI of an application. Pure: no input, no output.

The form is that of MongoDB's connection string specification; user, password, database and values are escaped by RFC 3986: everything but
its unreserved characters becomes ``%XX``, so that no driver can read a ``+``, an ``@`` or a ``%`` in a password as anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.linda.ops.plugins.module_utils._fields import closest, shown
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import canonical_host

X509 = "MONGODB-X509"
# What an application gets when nothing else is said: connections to each member, and milliseconds.
DEFAULTS: Mapping[str, Any] = {
    "tls": True,
    "min_pool_size": 10,
    "max_pool_size": 100,
    "connect_timeout_ms": 30000,
    "server_selection_timeout_ms": 30000,
    "socket_timeout_ms": 30000,
    "wait_queue_timeout_ms": 30000,
}
_LONGEST_MS = 24 * 3600 * 1000
_DATABASE = re.compile(r'[^\0/\\. "$]{1,63}')
_LOGIN = ("user", "password", "database", "srv")


@dataclass(frozen=True)
class _Option:
    """One option: its name in the URI, and a function that turns a value into text or raises ValueError with what it should be."""

    name: str
    write: Callable[[object], str]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("text that is not empty")
    return str(value)


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("an absolute path")
    return str(value)


def _switch(value: object) -> str:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return "true" if value else "false"


def _number(low: int, high: int) -> Callable[[object], str]:
    def write(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return str(int(value))

    return write


def _one_of(*choices: str) -> Callable[[object], str]:
    def write(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return write


def _some_of(*choices: str) -> Callable[[object], str]:
    def write(value: object) -> str:
        if not isinstance(value, (list, tuple)) or not value or any(entry not in choices for entry in value):
            raise ValueError(f"a list of some of {', '.join(choices)}")
        return ",".join(value)

    return write


def _write_concern(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "" or (isinstance(value, int) and not 0 <= value <= 50):
        raise ValueError("majority, a number of members, or the name of a write concern")
    return str(value)


_OPTIONS: Mapping[str, _Option] = {
    "replica_set": _Option("replicaSet", _text),
    "auth_source": _Option("authSource", _text),
    "auth_mechanism": _Option("authMechanism", _one_of("SCRAM-SHA-256", "SCRAM-SHA-1", X509)),
    "tls": _Option("tls", _switch),
    "tls_ca_file": _Option("tlsCAFile", _path),
    "tls_certificate_key_file": _Option("tlsCertificateKeyFile", _path),
    "tls_certificate_key_file_password": _Option("tlsCertificateKeyFilePassword", _text),
    "min_pool_size": _Option("minPoolSize", _number(0, 10000)),
    "max_pool_size": _Option("maxPoolSize", _number(1, 10000)),
    "max_connecting": _Option("maxConnecting", _number(1, 1000)),
    "max_idle_time_ms": _Option("maxIdleTimeMS", _number(0, _LONGEST_MS)),
    "connect_timeout_ms": _Option("connectTimeoutMS", _number(1, _LONGEST_MS)),
    "server_selection_timeout_ms": _Option("serverSelectionTimeoutMS", _number(1, _LONGEST_MS)),
    "socket_timeout_ms": _Option("socketTimeoutMS", _number(0, _LONGEST_MS)),
    "wait_queue_timeout_ms": _Option("waitQueueTimeoutMS", _number(1, _LONGEST_MS)),
    "timeout_ms": _Option("timeoutMS", _number(0, _LONGEST_MS)),
    "heartbeat_frequency_ms": _Option("heartbeatFrequencyMS", _number(500, _LONGEST_MS)),
    "local_threshold_ms": _Option("localThresholdMS", _number(0, _LONGEST_MS)),
    "app_name": _Option("appName", _text),
    "compressors": _Option("compressors", _some_of("snappy", "zlib", "zstd")),
    "direct_connection": _Option("directConnection", _switch),
    "journal": _Option("journal", _switch),
    "max_staleness_seconds": _Option("maxStalenessSeconds", _number(90, 86400)),
    "read_concern_level": _Option("readConcernLevel", _one_of("available", "linearizable", "local", "majority", "snapshot")),
    "read_preference": _Option(
        "readPreference", _one_of("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest")
    ),
    "retry_reads": _Option("retryReads", _switch),
    "retry_writes": _Option("retryWrites", _switch),
    "srv_max_hosts": _Option("srvMaxHosts", _number(0, 1000)),
    "srv_service_name": _Option("srvServiceName", _text),
    "w": _Option("w", _write_concern),
    "w_timeout_ms": _Option("wtimeoutMS", _number(0, _LONGEST_MS)),
}  # fmt: skip


def build_uri(hosts: object, given: Mapping[str, Any]) -> str:
    """Return the URI.

    :param hosts: one host, or a list of hosts as text or as members of a replica set (mappings with ``host``). Hidden members and arbiters
        serve no client and are left out; an absolute path is a Unix domain socket.
    :param given: ``user``, ``password``, ``database``, ``srv`` and the options of the connection string in snake case. What
        is not given, or None, gets its value of ``DEFAULTS``. Times are in milliseconds, pool sizes are connections to each member.
    :raises MongodbError: ``no_host``, ``bad_host``, ``duplicate_host``, ``bad_srv``, ``user_missing``, ``password_missing``, ``bad_login``,
        ``bad_database``, ``unknown_option``, ``bad_option``, ``bad_pool`` or ``bad_tls``. No message holds a password.
    """
    known = [*_LOGIN, *_OPTIONS]
    for name in given:
        if name not in known:
            raise MongodbError("unknown_option", f"{shown(name)} is not an option of the URI{_suggestion(str(name))}.")
    chosen = {name: value for name, value in given.items() if value is not None}
    srv = chosen.get("srv", False)
    if not isinstance(srv, bool):
        raise MongodbError("bad_option", f"srv = {shown(srv)} is not true or false.")
    names = _hosts(hosts, srv=srv)
    login = _login(chosen)
    database = _database(chosen.get("database"))
    options = {**DEFAULTS, **{name: value for name, value in chosen.items() if name in _OPTIONS}}
    if chosen.get("user") is not None or options.get("auth_mechanism") == X509:
        # Without it a driver would look for the user in the database of the URI.
        options.setdefault("auth_source", "$external" if options.get("auth_mechanism") == X509 else "admin")
    texts = _texts(options)
    _agree(options, names, srv=srv)
    query = "&".join(f"{_OPTIONS[name].name}={_escape(texts[name])}" for name in _OPTIONS if name in texts)
    return f"{'mongodb+srv' if srv else 'mongodb'}://{login}{','.join(names)}/{database}?{query}"


def _escape(text: str) -> str:
    """Escape everything but the unreserved characters of RFC 3986, section 2.3."""
    return quote(text, safe="")


def _suggestion(name: str) -> str:
    """Name the option that was probably meant, also when it was written as in a URI."""
    for known, option in _OPTIONS.items():
        if name.lower() == option.name.lower() or name.lower().replace("_", "") == known.replace("_", ""):
            return f" (did you mean {known}?)"
    return closest(name.lower(), [*_LOGIN, *_OPTIONS])


def _hosts(hosts: object, *, srv: bool) -> list[str]:
    listed: Iterable[object] = [hosts] if isinstance(hosts, (str, Mapping)) else hosts if isinstance(hosts, Iterable) else []
    names: list[str] = []
    for place, entry in enumerate(listed):
        name: object = entry
        if isinstance(entry, Mapping):
            if entry.get("hidden") or any(entry.get(name) for name in ("arbiter", "arbiter_only", "arbiterOnly")):
                continue
            name = entry.get("host")
        if not isinstance(name, str) or not name.strip():
            raise MongodbError("bad_host", f"hosts[{place}] = {shown(entry)} is neither a host nor a member with a host.")
        names.append(_srv_name(name) if srv else _host(name, place))
    if not names:
        raise MongodbError("no_host", "The URI has no host: give at least one member that serves clients.")
    if len(set(names)) != len(names):
        raise MongodbError("duplicate_host", f"hosts names {next(name for name in names if names.count(name) > 1)} more than once.")
    if srv and len(names) > 1:
        raise MongodbError("bad_srv", f"srv takes one name, whose SRV record lists the hosts; there are {len(names)}.")
    return names


def _host(name: str, place: int) -> str:
    if name.startswith("/"):
        if not name.endswith(".sock"):
            raise MongodbError(
                "bad_host", f"hosts[{place}] = {shown(name)}: a Unix domain socket is an absolute path that ends with .sock."
            )
        return _escape(name)
    try:
        return canonical_host(name)
    except MongodbError:
        raise MongodbError(
            "bad_host", f"hosts[{place}] = {shown(name)} is not a name or an address with an optional port (host:port, [IPv6]:port)."
        ) from None


def _srv_name(name: str) -> str:
    """Return the name of an SRV record: no port (the record has it), at least three parts (drivers refuse fewer)."""
    text = name.strip().lower()
    if ":" in text or text.startswith("/"):
        raise MongodbError("bad_srv", f"srv: {shown(name)} has a port or is a path; the SRV record says which ports.")
    if not re.fullmatch(r"([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.){2,}[a-z0-9]([a-z0-9-]*[a-z0-9])?", text) or text.replace(".", "").isdigit():
        raise MongodbError("bad_srv", f"srv: {shown(name)} is not a name of at least three parts such as cluster.example.net.")
    return text


def _login(chosen: Mapping[str, Any]) -> str:
    user, password = chosen.get("user"), chosen.get("password")
    x509 = chosen.get("auth_mechanism") == X509
    if user is not None and (not isinstance(user, str) or not user):
        raise MongodbError("bad_login", "user is not text, or is empty.")
    if password is not None and (not isinstance(password, str) or not password):
        raise MongodbError("bad_login", "password is not text, or is empty.")
    if password is not None and user is None:
        raise MongodbError("user_missing", "password is given without user.")
    if x509:
        if password is not None:
            raise MongodbError("bad_login", f"auth_mechanism = {X509} takes no password: the certificate is the login.")
        return f"{_escape(user)}@" if user else ""
    if user is not None and password is None:
        raise MongodbError("password_missing", f"user = {shown(user)} is given without password.")
    if user is None:
        stray = [name for name in ("auth_source", "auth_mechanism") if name in chosen]
        if stray:
            raise MongodbError("user_missing", f"{' and '.join(stray)} without user: nobody would log in.")
        return ""
    return f"{_escape(user)}:{_escape(str(password))}@"


def _database(database: object) -> str:
    if database is None:
        return ""
    if not isinstance(database, str) or not _DATABASE.fullmatch(database):
        raise MongodbError(
            "bad_database", f'database = {shown(database)} is not a name MongoDB takes (at most 63 characters, none of /\\. "$).'
        )
    return _escape(database)


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in options.items():
        try:
            texts[name] = _OPTIONS[name].write(value)
        except ValueError as wanted:
            # The value of a passphrase must not stand in a message.
            seen = "" if "password" in name else f" = {shown(value)}"
            raise MongodbError("bad_option", f"{name}{seen} is not {wanted}.") from None
    return texts


def _agree(options: Mapping[str, Any], names: list[str], *, srv: bool) -> None:
    """Refuse options that contradict each other."""
    if options["min_pool_size"] > options["max_pool_size"]:
        raise MongodbError("bad_pool", f"min_pool_size = {options['min_pool_size']} is above max_pool_size = {options['max_pool_size']}.")
    files = [name for name in ("tls_ca_file", "tls_certificate_key_file", "tls_certificate_key_file_password") if name in options]
    if files and not options["tls"]:
        raise MongodbError("bad_tls", f"{', '.join(files)} with tls = false: the connection would not use them.")
    if options.get("auth_mechanism") == X509 and (not options["tls"] or "tls_certificate_key_file" not in options):
        raise MongodbError("bad_tls", f"auth_mechanism = {X509} needs tls and tls_certificate_key_file.")
    if options.get("auth_mechanism") == X509 and options["auth_source"] != "$external":
        raise MongodbError("bad_login", f"auth_mechanism = {X509} has its users in $external, not in {options['auth_source']}.")
    if options.get("direct_connection") and (srv or len(names) > 1):
        raise MongodbError("bad_option", "direct_connection is for one host that is named itself, not for several and not with srv.")
    stray = [name for name in ("srv_max_hosts", "srv_service_name") if name in options and not srv]
    if stray:
        raise MongodbError("bad_srv", f"{' and '.join(stray)} without srv.")
    if options.get("srv_max_hosts") and "replica_set" in options:
        raise MongodbError("bad_srv", "srv_max_hosts is for mongos routers and contradicts replica_set.")
    if "max_staleness_seconds" in options and options.get("read_preference", "primary") == "primary":
        raise MongodbError("bad_option", "max_staleness_seconds needs a read_preference other than primary.")
    if len(options.get("app_name", "").encode()) > 128:
        raise MongodbError("bad_option", "app_name is longer than the 128 bytes that the server takes.")
