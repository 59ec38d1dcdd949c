# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the fingerprint of an OpenPGP public key (RFC 9580, RFC 4880). Pure; nothing is imported into any keyring."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator

BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
END = "-----END PGP PUBLIC KEY BLOCK-----"
PUBLIC_KEY = 6  # the packet of a primary key; a subkey is packet 14


def fingerprint(armored: str) -> str:
    """Return the fingerprint of the one public key in ASCII armour, as upper-case hexadecimal digits (40, for version 6 keys 64).

    A text with several keys is refused: whoever trusts the file trusts all of them, and only one can be compared.

    :raises ValueError: when the text is not exactly one well-formed public key.
    """
    found = [_fingerprint_of(body) for tag, body in _packets(_dearmor(armored)) if tag == PUBLIC_KEY]
    if len(found) != 1:
        raise ValueError(f"the text holds {len(found) or 'no'} public keys, and must hold exactly one")
    return found[0]


def _dearmor(armored: str) -> bytes:
    """Return the bytes between the armour lines; the checksum, when there is one, must be right (RFC 4880, section 6.1)."""
    lines = [line.strip() for line in armored.strip().splitlines()]
    if lines.count(BEGIN) != 1 or lines.count(END) != 1 or lines[0] != BEGIN or lines[-1] != END:
        raise ValueError("the text is not one ASCII-armoured public key block")
    body = lines[1:-1]
    start = body.index("") + 1 if "" in body else 0
    data = [line for line in body[start:] if line]
    checksum = data.pop()[1:] if data and data[-1].startswith("=") else None
    try:
        raw = base64.b64decode("".join(data), validate=True)
        expected = base64.b64decode(checksum, validate=True) if checksum is not None else None
    except binascii.Error as error:
        raise ValueError("the key block is not base64") from error
    if expected is not None and expected != _crc24(raw):
        raise ValueError("the key block is damaged: its checksum is wrong")
    return raw


def _crc24(data: bytes) -> bytes:
    value = 0xB704CE
    for octet in data:
        value ^= octet << 16
        for _bit in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= 0x1864CFB
    return (value & 0xFFFFFF).to_bytes(3, "big")


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, body) of each packet; both header formats, no partial lengths (a key has none)."""
    position = 0
    while position < len(data):
        header = data[position]
        if not header & 0x80:
            raise ValueError("the key block is not made of OpenPGP packets")
        if header & 0x40:
            tag, size, position = header & 0x3F, *_new_length(data, position + 1)
        else:
            octets = {0: 1, 1: 2, 2: 4}.get(header & 3)
            if octets is None:
                raise ValueError("the key block has a packet without a length")
            tag = (header >> 2) & 0x0F
            size = int.from_bytes(data[position + 1 : position + 1 + octets], "big")
            position += 1 + octets
        body = data[position : position + size]
        if len(body) != size:
            raise ValueError("the key block ends in the middle of a packet")
        yield tag, body
        position += size


def _new_length(data: bytes, position: int) -> tuple[int, int]:
    """Return (length, position of the body) of a new-format header."""
    first = data[position] if position < len(data) else 255
    if first < 192:
        return first, position + 1
    if first < 224:
        second = data[position + 1] if position + 1 < len(data) else 0
        return ((first - 192) << 8) + second + 192, position + 2
    if first == 255:
        return int.from_bytes(data[position + 1 : position + 5], "big"), position + 5
    raise ValueError("the key block has a packet of partial length")


def _fingerprint_of(body: bytes) -> str:
    """Return the fingerprint of a public-key packet of version 4 (RFC 4880, 12.2) or 6 (RFC 9580, 5.5.4.3)."""
    version = body[0] if body else 0
    if version == 4:
        # SHA-1 is what version 4 defines.
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()
    if version == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError(f"the key is of version {version}; versions 4 and 6 are known")
