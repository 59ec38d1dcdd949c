# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probes `tcp` and `tls`. Standard library only."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time

from ansible_collections.linda.ops.plugins.module_utils._checks_net import (
    CheckFailed,
    Deadline,
    Outcome,
    client_context,
    connect,
    place,
    receive,
    secure,
)
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import TcpCheck, TlsCheck

_DAY = 86400
# Protocol versions as they stand on the wire (RFC 8446, 4.2.1).
_WIRE = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_NAMES = {number: name for name, number in _WIRE.items()} | {0x0300: "SSLv3", 0x0002: "SSLv2"}
_BELOW = {"TLSv1.2": "TLSv1.1", "TLSv1.3": "TLSv1.2"}
# What servers of that age speak: ECDHE, DHE and RSA key exchange with AES-CBC and 3DES; for TLS 1.2 also AES-GCM and ChaCha20.
_CIPHERS = (0xC009, 0xC00A, 0xC013, 0xC014, 0x0033, 0x0039, 0x002F, 0x0035, 0xC008, 0xC012, 0x0016, 0x000A)
_CIPHERS_12 = (0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0x009E, 0x009F, 0x009C, 0x009D, 0xC023, 0xC027, 0x003C)
_ALERTS = {
    0: "close notify",
    40: "handshake failure",
    47: "illegal parameter",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    86: "inappropriate fallback",
    112: "unrecognized name",
}


def probe_tcp(check: TcpCheck, deadline: Deadline) -> Outcome:
    """The port accepts a connection."""
    with connect(check.address, check.port, deadline):
        return Outcome(f"{place(check.address, check.port)} accepts connections")


def probe_tls(check: TlsCheck, deadline: Deadline) -> Outcome:
    """Chain and name for every server name, days left, and the floor of the protocol."""
    context = client_context(check.ca_file, check.ca_pem)
    least = float("inf")
    seen = ""
    for name in check.server_names:
        with connect(check.address, check.port, deadline) as plain, secure(plain, context, name, deadline) as connection:
            version = connection.version() or "an unknown protocol"
            if _WIRE.get(version, 0) < _WIRE[check.min_version]:
                raise CheckFailed(f"{name} is served with {version}, below {check.min_version}")
            until = _not_after(connection)
            days = (until - time.time()) / _DAY
            if days < least:
                least = days
                seen = f"{version}, certificate good until {time.strftime('%Y-%m-%d', time.gmtime(until))} ({days:.1f} days)"
    if least < check.fail_days:
        raise CheckFailed(f"the certificate has {least:.1f} days left, fewer than {check.fail_days}", seen)
    refusal = offer_below(check.address, check.port, check.server_names[0], check.min_version, deadline)
    warning = f"the certificate has {least:.1f} days left, fewer than {check.warn_days}" if least < check.warn_days else ""
    return Outcome(f"{seen}; {_BELOW[check.min_version]} and older refused ({refusal})", warning)


def _not_after(connection: ssl.SSLSocket) -> int:
    """When the verified certificate of the server ends, in seconds since 1970."""
    certificate = connection.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))


def offer_below(address: str, port: int, server_name: str, floor: str, deadline: Deadline) -> str:
    """Offer every protocol below `floor`; returns how the server refused, raises CheckFailed when it accepts.

    One hello is enough: it names the highest version on offer, and a server that speaks an older one answers with that.
    It is written by hand (RFC 5246, 7.4.1.2), so that the answer does not depend on what the local TLS library allows.
    """
    offered = _BELOW[floor]
    with connect(address, port, deadline) as connection:
        connection.settimeout(deadline.remaining())
        try:
            connection.sendall(client_hello(_WIRE[offered], server_name))
            answer = _read(connection, 7, deadline)
            if answer[:1] == b"\x16":
                answer += _read(connection, 4, deadline)
        except TimeoutError as problem:
            raise CheckFailed(f"the server did not answer an offer of {offered} within {deadline.seconds:g} s") from problem
        except OSError:
            return "connection closed"
    if not answer:
        return "connection closed"
    kind = answer[0]
    if kind == 0x15 and len(answer) >= 7:
        return f"alert: {_ALERTS.get(answer[6], f'number {answer[6]}')}"
    if kind == 0x16 and len(answer) == 11 and answer[5] == 0x02:
        chosen = struct.unpack(">H", answer[9:11])[0]
        raise CheckFailed(f"the server accepts {_NAMES.get(chosen, hex(chosen))}, below {floor}")
    raise CheckFailed(f"the server gave no TLS answer to an offer of {offered}", answer.hex())


def _read(connection: socket.socket, size: int, deadline: Deadline) -> bytes:
    data = b""
    while len(data) < size:
        part = receive(connection, size - len(data), deadline)
        if not part:
            break
        data += part
    return data


def client_hello(version: int, server_name: str) -> bytes:
    """A ClientHello record that offers `version` (as on the wire, at most TLS 1.2) and everything older."""
    ciphers = (_CIPHERS_12 if version >= _WIRE["TLSv1.2"] else ()) + _CIPHERS
    extensions = b""
    if not _is_address(server_name):
        name = server_name.encode("idna" if not server_name.isascii() else "ascii")
        extensions += _extension(0, _sized(2, b"\x00" + _sized(2, name)))
    extensions += _extension(10, _sized(2, struct.pack(">4H", 29, 23, 24, 25)))  # groups: X25519, P-256, P-384, P-521
    extensions += _extension(11, _sized(1, b"\x00"))  # points: uncompressed
    if version >= _WIRE["TLSv1.2"]:
        schemes = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)
        extensions += _extension(13, _sized(2, struct.pack(f">{len(schemes)}H", *schemes)))
    extensions += _extension(0xFF01, b"\x00")  # secure renegotiation
    body = (
        struct.pack(">H", version)
        + os.urandom(32)
        + _sized(1, b"")
        + _sized(2, struct.pack(f">{len(ciphers)}H", *ciphers))
        + _sized(1, b"\x00")
        + _sized(2, extensions)
    )
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16" + struct.pack(">H", 0x0301) + _sized(2, handshake)


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _sized(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + _sized(2, data)
