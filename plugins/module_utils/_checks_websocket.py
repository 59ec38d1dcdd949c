# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probe `websocket`: a client for RFC 6455 as far as a check needs one. Standard library only."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

from ansible_collections.linda.ops.plugins.module_utils._checks_net import (
    CheckFailed,
    Deadline,
    Outcome,
    client_context,
    connect,
    receive,
    secure,
)
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import WebsocketCheck
from ansible_collections.linda.ops.plugins.module_utils._fields import shown

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEAD_LIMIT = 1 << 16
_MESSAGE_LIMIT = 1 << 20
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def probe_websocket(check: WebsocketCheck, deadline: Deadline) -> Outcome:
    """The upgrade is answered as expected; then a ping comes back, and a message is answered."""
    parts = urlsplit(check.url)
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(connect(check.address, port, deadline))
        if parts.scheme == "wss":
            connection = stack.enter_context(secure(connection, client_context(check.ca_file, check.ca_pem), name, deadline))
        stream = _Stream(connection, deadline)
        status = _upgrade(check, stream, parts.netloc, target)
        if status != 101:
            return Outcome(f"the upgrade is refused with {status}")
        seen = _talk(check, stream)
        stream.send(_CLOSE, struct.pack(">H", 1000))
    return Outcome(seen)


class _Stream:
    """Bytes and frames over one connection."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""

    def write(self, data: bytes) -> None:
        self._connection.settimeout(self._deadline.remaining())
        self._connection.sendall(data)

    def _more(self) -> None:
        part = receive(self._connection, 65536, self._deadline)
        if not part:
            raise CheckFailed("the server closed the connection")
        self._buffer += part

    def head(self) -> str:
        """The head of an HTTP answer."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _HEAD_LIMIT:
                raise CheckFailed("the answer to the upgrade has no end")
            self._more()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        return head.decode("latin-1")

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def send(self, opcode: int, payload: bytes) -> None:
        """One frame, masked as a client must (5.3)."""
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = os.urandom(4)
        self.write(head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)))

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._exactly(2)
        if first & 0x70:
            raise CheckFailed("the server uses an extension that was not offered")
        if second & 0x80:
            raise CheckFailed("the server masks its frames")
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._exactly(8))[0]
        if size > _MESSAGE_LIMIT:
            raise CheckFailed(f"the server sends a frame of {size} bytes")
        return bool(first & 0x80), first & 0x0F, self._exactly(size)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Whole messages and pongs; pings are answered, a close is a failure."""
        kind, data = _CONTINUATION, b""
        while True:
            last, opcode, payload = self._frame()
            if opcode == _PING:
                self.send(_PONG, payload)
            elif opcode == _CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                raise CheckFailed(f"the server closed the WebSocket with {code}", payload[2:].decode("utf-8", "replace"))
            elif opcode == _PONG:
                yield opcode, payload
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                kind = opcode or kind
                data = data + payload if opcode == _CONTINUATION else payload
                if len(data) > _MESSAGE_LIMIT:
                    raise CheckFailed("the server sends a message of more than 1 MiB")
                if last:
                    yield kind, data
                    kind, data = _CONTINUATION, b""
            else:
                raise CheckFailed(f"the server sends a frame of unknown kind {opcode}")


def _upgrade(check: WebsocketCheck, stream: _Stream, host: str, target: str) -> int:
    key = base64.b64encode(os.urandom(16)).decode()
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "User-Agent": "linda.ops run_checks",
    }
    if check.subprotocol is not None:
        headers["Sec-WebSocket-Protocol"] = check.subprotocol
    replaced = {name.lower() for name in check.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in replaced} | dict(check.headers)
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    stream.write("\r\n".join(lines).encode("ascii"))
    first, *rest = stream.head().split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3})( .*)?", first)
    if match is None:
        raise CheckFailed("the answer to the upgrade is not HTTP/1.1", first)
    status = int(match[1])
    if status != check.status:
        raise CheckFailed(f"the upgrade is answered with {status}, expected {check.status}")
    if status != 101:
        return status
    found = {name.strip().lower(): value.strip() for name, _colon, value in (line.partition(":") for line in rest)}
    wanted = base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
    if found.get("upgrade", "").lower() != "websocket" or "upgrade" not in found.get("connection", "").lower():
        raise CheckFailed("the answer to the upgrade has no Upgrade: websocket")
    if found.get("sec-websocket-accept") != wanted:
        raise CheckFailed("the answer to the upgrade does not belong to the key that was sent")
    if found.get("sec-websocket-protocol") != check.subprotocol:
        raise CheckFailed(f"the subprotocol is {found.get('sec-websocket-protocol')}, expected {check.subprotocol}")
    return status


def _talk(check: WebsocketCheck, stream: _Stream) -> str:
    token = os.urandom(8)
    stream.send(_PING, token)
    if check.send is not None:
        stream.send(_TEXT, check.send.encode())
    wanted_text = check.send is not None or check.expect is not None
    ponged = matched = False
    last = ""
    try:
        for kind, data in stream.messages():
            if kind == _PONG:
                ponged = ponged or data == token
            elif kind == _TEXT:
                last = data.decode("utf-8", "replace")
                matched = matched or _matches(check, last)
            if ponged and (matched or not wanted_text):
                break
    except TimeoutError as problem:
        if not ponged:
            raise CheckFailed("the ping was not answered in time") from problem
        expected = check.expect if check.expect is not None else check.send
        raise CheckFailed(f"no message that matches {shown(expected)} came in time", f"last message: {last}" if last else "") from problem
    return "101, ping answered" + (f", message: {last}" if matched else "")


def _matches(check: WebsocketCheck, text: str) -> bool:
    if check.expect is not None:
        return re.search(check.expect, text) is not None
    return text == check.send
