# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every check shares while it runs: the deadline, connections, TLS contexts, plain words for errors, masked secrets.

Standard library only; runs on the controller and on managed hosts.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MASK = "********"
_EVIDENCE = 300


class CheckFailed(Exception):
    """The thing checked is not as it should be. `reason` is for people; `evidence` is what was seen, shortened later."""

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.evidence = evidence


@dataclass(frozen=True)
class Outcome:
    """A passed check: what was seen, and a warning when it passed only just."""

    evidence: str = ""
    warning: str = ""


class Deadline:
    """The time one attempt has, in seconds. Sockets and processes in use are registered, so that `expire` can end them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._expired = False
        self._cleanups: list[Callable[[], None]] = []

    def remaining(self) -> float:
        """Seconds left, always more than 0; raises TimeoutError when none is left."""
        left = self._end - time.monotonic()
        if left <= 0 or self._expired:
            raise TimeoutError
        return left

    def on_expiry(self, cleanup: Callable[[], None]) -> None:
        """Call `cleanup` when the time is over; at once when it is already."""
        with self._lock:
            if not self._expired:
                self._cleanups.append(cleanup)
                return
        cleanup()

    def expire(self) -> None:
        """End what is still going on."""
        with self._lock:
            self._expired = True
            cleanups, self._cleanups = self._cleanups, []
        for cleanup in cleanups:
            with contextlib.suppress(OSError):
                cleanup()


def connect(address: str, port: int, deadline: Deadline) -> socket.socket:
    """A TCP connection that ends with the deadline."""
    try:
        connection = socket.create_connection((address, port), timeout=deadline.remaining())
    except TimeoutError as problem:
        raise CheckFailed(f"{place(address, port)} did not accept a connection within {deadline.seconds:g} s") from problem
    except ConnectionRefusedError as problem:
        raise CheckFailed(f"{place(address, port)} refused the connection") from problem
    except socket.gaierror as problem:
        raise CheckFailed(f"the name {address} does not resolve") from problem
    except OSError as problem:
        raise CheckFailed(f"{place(address, port)} cannot be reached: {problem.strerror or problem}") from problem

    def end() -> None:
        connection.shutdown(socket.SHUT_RDWR)

    deadline.on_expiry(end)
    return connection


def place(address: str, port: int) -> str:
    """`address:port`, with IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def receive(connection: socket.socket, size: int, deadline: Deadline) -> bytes:
    """Up to `size` bytes; empty at the end of the stream."""
    connection.settimeout(deadline.remaining())
    return connection.recv(size)


def client_context(ca_file: str | None, ca_pem: str | None) -> ssl.SSLContext:
    """A context that verifies chain and name against the given authority only, or against the machine's trust store."""
    try:
        context = ssl.create_default_context(cafile=ca_file, cadata=ca_pem)
    except FileNotFoundError as problem:
        raise CheckFailed(f"ca_file {ca_file} does not exist where the check runs") from problem
    except (OSError, ValueError) as problem:
        raise CheckFailed(f"the certificate authority {ca_file or 'in ca_pem'} cannot be read: {words(problem)}") from problem
    # What Python 3.13 does by default, so that every interpreter gives the same verdict.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def secure(connection: socket.socket, context: ssl.SSLContext, server_name: str, deadline: Deadline) -> ssl.SSLSocket:
    """The TLS handshake; CheckFailed says in words why it was not good."""
    connection.settimeout(deadline.remaining())
    try:
        secured = context.wrap_socket(connection, server_hostname=server_name)
    except ssl.SSLCertVerificationError as problem:
        raise CheckFailed(f"the certificate for {server_name} is not good: {problem.verify_message}") from problem
    except ssl.SSLError as problem:
        raise CheckFailed(f"no TLS with {server_name}: {_ssl_words(problem)}") from problem
    except TimeoutError:
        raise
    except OSError as problem:
        raise CheckFailed(f"the connection was closed during the TLS handshake with {server_name}: {words(problem)}") from problem

    def end() -> None:
        socket.socket.shutdown(secured, socket.SHUT_RDWR)

    deadline.on_expiry(end)
    return secured


def _ssl_words(problem: ssl.SSLError) -> str:
    return (problem.reason or str(problem)).replace("_", " ").lower()


def words(problem: BaseException) -> str:
    """An exception in words for people, on one line."""
    if isinstance(problem, ssl.SSLError):
        return _ssl_words(problem)
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    text = str(problem).strip()
    name = type(problem).__name__
    return f"{name}: {text.splitlines()[0]}" if text else name


def shortened(text: str, limit: int = _EVIDENCE) -> str:
    """Printable text on one line, at most `limit` characters."""
    line = re.sub(r"\s+", " ", text).strip()
    line = "".join(character if character.isprintable() else "\ufffd" for character in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced, longest first so that no part of one stays."""
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
