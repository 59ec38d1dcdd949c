# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The input/output edge of the MongoDB modules: connect with TLS, find out in which state a cluster is, log in, send commands.

Works with pymongo 3.11 (Debian 12's python3-pymongo) and 4. The state is read from the servers and from nothing else:

=============  =============================================================================================================
``no_set``     mongod runs with a replica set name and belongs to no set yet
``standalone`` mongod runs without a replica set name
``no_users``   the set has no user yet; the localhost exception is open to us
``ready``      we are logged in (or the server asks for no login)
=============  =============================================================================================================

Everything else is an error with a code: ``no_driver``, ``not_running``, ``unknown_host``, ``tls_failed``, ``not_ready`` (still
starting or syncing), ``login_failed`` (users exist and our login is refused), ``not_authorized``, ``not_primary``,
``no_primary``, ``wrong_server`` (a mongos), ``connection_lost``, ``not_committed`` (a write that has not reached the majority in time)
and ``command_failed``.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import LOOPBACK, canonical_host

try:
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

    HAS_PYMONGO = True
except ImportError:
    HAS_PYMONGO = False

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
USER_NOT_FOUND = 11
NO_REPLICATION = 76
# The server's numbers for "I am not, or no longer, the primary".
NOT_PRIMARY = frozenset({91, 189, 10058, 10107, 11600, 11602, 13435, 13436})
POLL_SECONDS = 0.2
X509 = "MONGODB-X509"
EXTERNAL = "$external"
MAJORITY: Mapping[str, Any] = {"w": "majority", "wtimeout": 30000}

LOGIN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_database": {"type": "str", "default": "admin"},
    "login_host": {"type": "str", "default": "localhost"},
    "login_addresses": {"type": "list", "elements": "str", "default": []},
    "login_port": {"type": "int", "default": 27017},
    "ssl": {"type": "bool", "default": False, "aliases": ["tls"]},
    "ssl_cert_reqs": {"type": "str", "default": "CERT_REQUIRED", "choices": ["CERT_NONE", "CERT_REQUIRED"]},
    "ssl_ca_certs": {"type": "path", "aliases": ["tlsCAFile"]},
    "ssl_crlfile": {"type": "path"},
    "ssl_certfile": {"type": "path", "aliases": ["tlsCertificateKeyFile"]},
    "ssl_pem_passphrase": {"type": "str", "no_log": True, "aliases": ["tlsCertificateKeyFilePassword"]},
    "auth_mechanism": {"type": "str", "choices": ["SCRAM-SHA-256", "SCRAM-SHA-1", X509]},
    "timeout": {"type": "int", "default": 60},
}
LOGIN_TOGETHER = [("login_user", "login_password")]


class CommandError(MongodbError):
    """The server refused a command. ``number`` is the server's own error code, 0 when it gave none."""

    def __init__(self, code: str, message: str, number: int) -> None:
        super().__init__(code, message)
        self.number = number


@dataclass(frozen=True)
class Login:
    """Where to connect and as whom. ``timeout`` is in seconds and bounds each wait for an answer, an election or a commit."""

    host: str
    user: str | None
    password: str | None = field(repr=False)
    database: str
    tls: Mapping[str, Any]
    mechanism: str | None
    timeout: int
    addresses: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str] | None:
        """Return (database, name) of the account, None without a login. The name in a certificate is known to the server only."""
        if self.mechanism == X509:
            return (EXTERNAL, "")
        return (self.database, self.user) if self.user else None

    @property
    def credentials(self) -> dict[str, Any]:
        """Return pymongo's options of the login, empty without one."""
        if self.mechanism == X509:
            return {"authMechanism": X509, "authSource": EXTERNAL}
        if not self.user:
            return {}
        chosen = {"authMechanism": self.mechanism} if self.mechanism else {}
        return {"username": self.user, "password": self.password, "authSource": self.database, **chosen}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Login:
        """Read the options of ``LOGIN_ARGUMENTS``.

        :raises MongodbError: ``bad_host``, ``bad_login`` or ``bad_tls``.
        """
        host = params["login_host"]
        if not 1 <= params["login_port"] <= 65535:
            raise MongodbError("bad_host", f"login_port = {params['login_port']} is not a port (1..65535).")
        if params["timeout"] < 1:
            raise MongodbError("bad_login", f"timeout = {params['timeout']} is not a number of seconds above 0.")
        if bool(params["login_user"]) != bool(params["login_password"]):
            raise MongodbError("bad_login", "login_user and login_password are given together, and neither is empty.")
        if params["auth_mechanism"] == X509 and params["login_user"]:
            raise MongodbError("bad_login", f"login_user is given, but {X509} takes the account from ssl_certfile: leave it out.")
        if params["auth_mechanism"] == X509 and not (params["ssl"] and params["ssl_certfile"]):
            raise MongodbError("bad_login", f"auth_mechanism = {X509} logs in by a certificate: set ssl and ssl_certfile.")
        return cls(
            host=canonical_host(f"[{host}]:{params['login_port']}" if ":" in host else f"{host}:{params['login_port']}"),
            user=params["login_user"],
            password=params["login_password"],
            database=params["login_database"],
            tls=_tls_options(params),
            mechanism=params["auth_mechanism"],
            timeout=params["timeout"],
            addresses=tuple(canonical_host(address) for address in params.get("login_addresses") or ()),
        )


def _tls_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return pymongo's TLS options, empty without TLS. Files without ``ssl`` are refused: the login would travel in clear."""
    names = {
        "ssl_ca_certs": "tlsCAFile",
        "ssl_certfile": "tlsCertificateKeyFile",
        "ssl_crlfile": "tlsCRLFile",
        "ssl_pem_passphrase": "tlsCertificateKeyFilePassword",
    }
    given = {option: params[name] for name, option in names.items() if params[name]}
    if not params["ssl"]:
        if given:
            raise MongodbError("bad_tls", f"{', '.join(name for name in names if params[name])} without ssl: set ssl to true.")
        return {}
    return {"tls": True, "tlsAllowInvalidCertificates": params["ssl_cert_reqs"] == "CERT_NONE", **given}


class Link:
    """A direct connection to one server; logged in when ``login`` is true. Opens with the first command."""

    def __init__(self, options: Login, host: str, *, login: bool) -> None:
        self.host = host
        self.options = options
        self.logged_in = login
        self.local = bool(LOOPBACK.match(host.rpartition(":")[0]))
        patience = min(options.timeout, 5) * 1000
        arguments: dict[str, Any] = {
            "directConnection": True,
            "appname": "linda.ops",
            "serverSelectionTimeoutMS": patience,
            "connectTimeoutMS": patience,
            "socketTimeoutMS": (options.timeout + 35) * 1000,
            **options.tls,
        }
        if self.local and options.tls:
            # The peer of a loopback address is this machine whatever name its certificate has; the chain is still verified.
            arguments["tlsAllowInvalidHostnames"] = True
        if login:
            arguments |= options.credentials
        try:
            self._client: MongoClient[dict[str, Any]] = MongoClient(host, **arguments)
        except (ConfigurationError, OSError, ValueError) as error:
            raise MongodbError("tls_failed" if options.tls else "bad_login", f"Cannot set up a connection to {host}: {error}") from error

    def command(self, name: str, value: Any = 1, /, database: str = "admin", **fields: Any) -> dict[str, Any]:
        """Send one command and return the server's answer.

        :raises MongodbError: with the codes of this module; :class:`CommandError` when the server answered with a refusal.
        """
        try:
            answer: dict[str, Any] = self._client[database].command({name: value, **fields})
        except OperationFailure as error:
            number = int(error.code or 0)
            raise CommandError(_code_of(number), f"{self.host}: {_server_words(error)}", number) from None
        except ConnectionFailure as error:
            raise _lost(self.host, error) from None
        except PyMongoError as error:
            raise MongodbError("command_failed", f"{self.host}: {name}: {error}") from None
        if unsure := answer.get("writeConcernError"):
            # The driver takes such an answer for a success; the write is on the primary and may still be rolled back.
            code = "not_primary" if unsure["code"] in NOT_PRIMARY else "not_committed"
            raise CommandError(code, f"{self.host}: {name} has not reached the majority: {unsure.get('errmsg', unsure)}", unsure["code"])
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _server_words(error: OperationFailure) -> str:
    details = error.details or {}
    return f"{details.get('errmsg', error)} ({details.get('codeName', 'no code')})"


def _code_of(number: int) -> str:
    if number == AUTHENTICATION_FAILED:
        return "login_failed"
    if number == UNAUTHORIZED:
        return "not_authorized"
    return "not_primary" if number in NOT_PRIMARY else "command_failed"


def _lost(host: str, error: Exception) -> MongodbError:
    """Give a broken or refused connection its code by what the driver says about it."""
    number = (getattr(error, "details", None) or {}).get("code")
    if number in NOT_PRIMARY:
        return CommandError("not_primary", f"{host} is not primary.", int(number))
    words = str(error).partition(", Timeout:")[0].partition(" (configured timeouts")[0]
    lower = words.lower()
    if "ssl" in lower or "tls" in lower or "certificate" in lower:
        return MongodbError("tls_failed", f"{host}: TLS failed: {words}. Check ssl_ca_certs, the server's certificate and the name used.")
    if "name or service not known" in lower or "name resolution" in lower or "nodename nor servname" in lower or "no address" in lower:
        return MongodbError("unknown_host", f"{host}: the name does not resolve.")
    if "refused" in lower or "timed out" in lower or "unreachable" in lower or "no route" in lower:
        return MongodbError("not_running", f"{host}: nothing answers there ({words}). Start mongod, or check address, port and firewall.")
    return MongodbError(
        "connection_lost", f"{host}: the connection broke ({words}). A server that requires TLS does this to a client without."
    )


class Cluster:
    """What one module run holds of a cluster. Use as a context manager.

    ``state`` is one of the table above; ``hello`` the last answer of the entry server. ``lean``: log in at once, so that on a cluster
    that knows us one connection does for everything; a member that is starting or without users is then asked without a login.
    """

    def __init__(self, options: Login, *, lean: bool = False) -> None:
        if not HAS_PYMONGO:
            raise MongodbError("no_driver", "The Python package pymongo (Debian: python3-pymongo) is missing where the module runs.")
        self.options = options
        self._links: list[Link] = []
        self._addresses: dict[str, str] = {}
        self.entry = self._way_in() if options.addresses else self._first_link(lean=lean)
        self.member = self.entry
        self.hello: dict[str, Any] = {}
        self.state = ""
        self.refresh()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exc: object) -> None:
        for link in self._links:
            link.close()

    def refresh(self) -> str:
        """Read the state anew and return it; afterwards ``member`` is the connection with the most rights.

        :raises MongodbError: see the module's description.
        """
        self.hello = self._settled_hello()
        if not self.hello.get("setName") and self.hello.get("isreplicaset"):
            self.member, self.state = self.entry, "no_set"
        elif self._log_in():
            self.state = "ready" if self.hello.get("setName") else "standalone"
        else:
            self.member, self.state = self.entry, "no_users"
        return self.state

    def move_to(self, host: str) -> str:
        """Use another member as the entry (the first one was replaced by an empty machine) and return the state there."""
        self.entry = self._link(host, login=False)
        return self.refresh()

    def primary_host(self) -> str | None:
        """Return host:port of the primary as the entry server knows it now; the entry itself when it has no set."""
        self.hello = self.entry.command("hello")
        if self.hello.get("isWritablePrimary"):
            return str(self.hello.get("me", self.entry.host))
        known = self.hello.get("primary")
        return str(known) if known else None

    def primary(self) -> Link:
        """Return a connection to the primary with our rights, waiting for an election if there is none.

        :raises MongodbError: ``no_primary`` after the time-out; ``not_primary`` when only the localhost exception would let us in
            and this server is not the primary.
        """
        deadline = time.monotonic() + self.options.timeout
        while True:
            host = self.primary_host()
            if self.hello.get("isWritablePrimary"):
                return self._own_or_new(self.entry.host)
            if host is not None and self.state == "no_users":
                raise MongodbError(
                    "not_primary",
                    f"The set has no users yet and {host} is primary: run this there, through localhost, to create the first.",
                )
            address = self.address_of(canonical_host(host)) if host is not None else None
            if address is not None:
                return self._own_or_new(address)
            if time.monotonic() > deadline and host is not None:
                raise MongodbError("unknown_host", f"{host} is primary, and none of login_addresses answers as it: add its address.")
            if time.monotonic() > deadline:
                raise MongodbError("no_primary", f"{self.entry.host}: the set has had no primary for {self.options.timeout} s.")
            time.sleep(POLL_SECONDS)

    def address_of(self, host: str) -> str | None:
        """Return where a member is reached from here: its own name, or the one of ``login_addresses`` that says it is this member.

        ``host`` is canonical. None when no address answers as it.
        """
        if not self.options.addresses:
            return host
        if host not in self._addresses:
            for address in self.options.addresses:
                with contextlib.suppress(MongodbError):
                    self._greet(address)
        return self._addresses.get(host)

    def identity(self) -> tuple[str, str] | None:
        """Return (database, name) of the account that we are logged in as, None where the cluster knows no logins."""
        if self.options.mechanism != X509 or self.state == "no_users":
            return self.options.key
        (user,) = self.member.command("connectionStatus")["authInfo"]["authenticatedUsers"]
        return (str(user["db"]), str(user["user"]))

    def own_roles(self) -> list[dict[str, str]]:
        """Return the roles that we have, inherited ones too, each with ``role`` and ``db``."""
        return list(self.member.command("connectionStatus")["authInfo"]["authenticatedUserRoles"])

    def own_address(self) -> str:
        """Return the address from which the server sees us."""
        return str(self.member.command("whatsmyuri")["you"]).rpartition(":")[0].strip("[]")

    def connections_of(self, database: str, name: str) -> tuple[str, ...]:
        """Return one text for each connection, to any member with data, that is logged in as a user.

        Idle connections count too: a pool holds them for when they are needed. Asks for the privilege ``inprog``.
        """
        found: list[str] = []
        pipeline: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"connectionId": {"$exists": True}, "effectiveUsers": {"$elemMatch": {"db": database, "user": name}}}},
            {"$group": {"_id": "$connectionId", "client": {"$first": "$client"}, "program": {"$first": "$appName"}}},
        ]
        for link in self._members():
            answer = link.command("aggregate", 1, pipeline=pipeline, cursor={"batchSize": 10000})
            for one in answer["cursor"]["firstBatch"]:
                program = f"{one['program']} at " if one.get("program") else ""
                found.append(f"{program}{one.get('client', 'an unknown address')} on {link.host}")
        return tuple(sorted(found))

    def _members(self) -> Iterator[Link]:
        """Yield a connection with our rights to each member that has data and is up."""
        if self.state == "standalone":
            yield self.member
            return
        for member in self.member.command("replSetGetStatus")["members"]:
            if member["stateStr"] not in ("PRIMARY", "SECONDARY"):
                continue
            host = canonical_host(str(member["name"]))
            address = self.member.host if member.get("self") else self.address_of(host)
            if address is None:
                raise MongodbError("unknown_host", f"{host} is a member, and none of login_addresses answers as it: add its address.")
            present = next((link for link in self._links if link.host == address and link.logged_in), None)
            yield present or self._link(address, login=True)

    def can_log_in(self, user: str, password: str, database: str) -> bool:
        """Tell by one attempt whether a user has a password."""
        other = Login(self.entry.host, user, password, database, self.options.tls, None, self.options.timeout)
        link = Link(other, self.member.host, login=True)
        try:
            link.command("ping")
        except MongodbError as error:
            if error.code == "login_failed":
                return False
            raise
        finally:
            link.close()
        return True

    def ask(self, host: str) -> dict[str, Any]:
        """Return what a server outside the set says to ``hello``, without login."""
        link = self._link(host, login=False)
        return link.command("hello")

    def _way_in(self) -> Link:
        """Return a connection to the first of ``login_addresses`` that is a member with data, else to the first that answers."""
        found: list[Link] = []
        silent: list[MongodbError] = []
        for address in self.options.addresses:
            try:
                link, hello = self._greet(address)
            except MongodbError as error:
                # One member that is down, or whose certificate has expired, is no reason to stop while another one answers.
                silent.append(error)
                continue
            if hello.get("isWritablePrimary") or hello.get("secondary"):
                return link
            found.append(link)
        if not found:
            telling = next((error for error in silent if error.code != "not_running"), silent[0])
            raise MongodbError(telling.code, " ".join(error.message for error in silent))
        return found[0]

    def _greet(self, address: str) -> tuple[Link, dict[str, Any]]:
        """Ask the server at an address who it is, and remember under which name the set knows it.

        A closed port is found out without the driver, which would wait for it to open.
        """
        host, _colon, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=min(self.options.timeout, 5)).close()
        except socket.gaierror:
            raise MongodbError("unknown_host", f"{address}: the name does not resolve.") from None
        except OSError as error:
            raise MongodbError("not_running", f"{address}: nothing answers there ({error.strerror or error}).") from None
        link = self._link(address, login=False)
        hello = link.command("hello")
        if hello.get("me"):
            self._addresses[canonical_host(str(hello["me"]))] = address
        return link, hello

    def _first_link(self, *, lean: bool) -> Link:
        """Return the connection to ``login_host``, with our rights when ``lean`` and the server takes the login."""
        if lean and self.options.key:
            link = self._link(self.options.host, login=True)
            try:
                link.command("hello")
            except CommandError:
                link.close()
                self._links.remove(link)
            else:
                return link
        return self._link(self.options.host, login=False)

    def _link(self, host: str, *, login: bool) -> Link:
        link = Link(self.options, host, login=login)
        self._links.append(link)
        return link

    def _own_or_new(self, host: str) -> Link:
        """Return the connection to ``host`` with our rights, a present one if there is."""
        if self.state == "no_users":
            return self.entry
        if self.member.host != host:
            self.member = self._link(host, login=True)
        return self.member

    def _settled_hello(self) -> dict[str, Any]:
        """Return the entry server's ``hello`` once it is more than starting.

        A member that has just started says for a moment that it has no set, so that answer counts only when it stays.
        """
        deadline = time.monotonic() + self.options.timeout
        without_set = 0
        while True:
            hello = self.entry.command("hello")
            if hello.get("msg") == "isdbgrid":
                raise MongodbError("wrong_server", f"{self.entry.host} is a mongos; give a member of the replica set.")
            if hello.get("arbiterOnly"):
                raise MongodbError("wrong_server", f"{self.entry.host} is an arbiter and knows no users; give a member with data.")
            without_set += bool(hello.get("isreplicaset"))
            if hello.get("isWritablePrimary") or hello.get("secondary") or without_set > 3:
                return hello
            if time.monotonic() > deadline:
                raise MongodbError(
                    "not_ready",
                    f"{self.entry.host} is neither primary nor secondary after {self.options.timeout} s: {hello.get('info', '')}",
                )
            time.sleep(POLL_SECONDS)

    def _log_in(self) -> bool:
        """Log in at the entry server, else at the primary; return False when there is no user yet that one could log in as."""
        if self.entry.logged_in:
            self.member = self.entry
            return True
        hosts = [self.entry.host]
        if self.hello.get("primary") and not self.hello.get("isWritablePrimary"):
            hosts += [address for address in [self.address_of(canonical_host(str(self.hello["primary"])))] if address is not None]
        for host in hosts if self.options.key else []:
            link = self._link(host, login=True)
            try:
                link.command("ping")
            except MongodbError as error:
                # A certificate that is nobody's is answered so.
                refused = error.code == "login_failed" or (isinstance(error, CommandError) and error.number == USER_NOT_FOUND)
                if not refused and host == self.entry.host:
                    raise
                continue
            self.member = link
            return True
        return self._open_door()

    def _open_door(self) -> bool:
        """Find out without a login whether the server asks for one at all, has no users yet, or has users that are not us."""
        try:
            users = self.entry.command("usersInfo", {"forAllDBs": True})["users"]
        except CommandError as error:
            if error.number != UNAUTHORIZED:
                raise
        else:
            # The server asks for no login.
            if not self.options.key:
                self.member = self.entry
                return True
            if not users:
                return False
            raise self._refusal()
        try:
            self.entry.command("replSetGetStatus")
        except CommandError as error:
            if error.number == NO_REPLICATION:
                return False
            if error.number != UNAUTHORIZED:
                raise
            raise self._refusal() from None
        return False

    def _refusal(self) -> MongodbError:
        hint = "" if self.entry.local else " If the cluster has no users yet, run this on its primary through localhost."
        if self.options.mechanism == X509:
            return MongodbError(
                "login_failed",
                f"{self.entry.host} has users, and the subject of ssl_certfile is none of $external: create it, or give its certificate.",
            )
        who = f"{self.options.database}.{self.options.user} was refused" if self.options.user else "no login_user is given"
        return MongodbError(
            "login_failed", f"{self.entry.host} has users and {who}: check login_user, login_password and login_database.{hint}"
        )
