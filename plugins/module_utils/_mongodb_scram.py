# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell whether a password belongs to stored SCRAM credentials (RFC 5802, RFC 7677, SASLprep of RFC 4013). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stringprep
import unicodedata
from collections.abc import Mapping
from typing import Any

MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """Return ``text`` prepared as RFC 4013 asks, for a stored string.

    :raises ValueError: when the text holds a character that a password must not have.
    """
    mapped = "".join(" " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char))
    prepared = unicodedata.normalize("NFKC", mapped)
    for char in prepared:
        if stringprep.in_table_a1(char) or any(table(char) for table in _PROHIBITED):
            raise ValueError("the password holds a character that SASLprep does not allow")
    if any(stringprep.in_table_d1(char) for char in prepared) and (
        any(stringprep.in_table_d2(char) for char in prepared)
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        raise ValueError("the password mixes directions in a way that SASLprep does not allow")
    return prepared


def stored_key(mechanism: str, user: str, password: str, salt: bytes, iterations: int) -> bytes:
    """Return the StoredKey of RFC 5802 the way MongoDB derives it.

    SCRAM-SHA-1 takes the hexadecimal MD5 of ``user:mongo:password`` for the password, SCRAM-SHA-256 the prepared password.

    :raises KeyError: for another mechanism; ValueError: see :func:`saslprep`.
    """
    digest = MECHANISMS[mechanism]
    if mechanism == "SCRAM-SHA-1":
        # The server's scheme, not a choice of ours: MD5 only shapes the input of PBKDF2 here.
        secret = hashlib.md5(f"{user}:mongo:{password}".encode(), usedforsecurity=False).hexdigest()
    else:
        secret = saslprep(password)
    return derived_key(digest, secret, salt, iterations)


def derived_key(digest: str, secret: str, salt: bytes, iterations: int) -> bytes:
    """Return the StoredKey of RFC 5802, section 3, for a prepared password; ``digest`` is ``sha1`` or ``sha256``."""
    salted = hashlib.pbkdf2_hmac(digest, secret.encode(), salt, iterations)
    client_key = hmac.new(salted, b"Client Key", digest).digest()
    return hashlib.new(digest, client_key).digest()


def password_matches(user: str, password: str, credentials: Mapping[str, Any]) -> bool | None:
    """Compare a password with the ``credentials`` document of ``usersInfo``; None when it holds nothing we can compare with.

    The strongest mechanism decides: the server derives all of a user's credentials from one password.
    """
    for mechanism in MECHANISMS:
        stored = credentials.get(mechanism)
        if not isinstance(stored, Mapping):
            continue
        try:
            salt = base64.b64decode(stored["salt"])
            expected = base64.b64decode(stored["storedKey"])
            derived = stored_key(mechanism, user, password, salt, int(stored["iterationCount"]))
        except (KeyError, ValueError):
            continue
        return hmac.compare_digest(derived, expected)
    return None
