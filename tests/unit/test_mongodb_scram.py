"""The SCRAM arithmetic by which a changed password is found without a login."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_scram import derived_key, password_matches, saslprep, stored_key


@pytest.mark.parametrize(
    ("digest", "nonce", "client_nonce", "salt", "proof"),
    [
        # RFC 5802, section 5
        (
            "sha1",
            "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
            "fyko+d2lbbFgONRv9qkxdawL",
            "QSXCR+Q6sek8bf92",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        ),
        # RFC 7677, section 3
        (
            "sha256",
            "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "rOprNGfwEbeRWgbNEkqO",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        ),
    ],
)
def test_the_derived_key_accepts_the_proofs_of_the_rfcs(digest: str, nonce: str, client_nonce: str, salt: str, proof: str) -> None:
    key = derived_key(digest, "pencil", base64.b64decode(salt), 4096)
    spoken = f"n=user,r={client_nonce},r={nonce},s={salt},i=4096,c=biws,r={nonce}"
    signature = hmac.new(key, spoken.encode(), digest).digest()
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
    assert hashlib.new(digest, client_key).digest() == key, "ClientKey := ClientProof XOR ClientSignature; StoredKey := H(ClientKey)"


def test_scram_sha_256_agrees_with_rfc_7677() -> None:
    # RFC 7677, section 3: the server signature's counterpart is derived from this StoredKey.
    key = stored_key("SCRAM-SHA-256", "user", "pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert base64.b64encode(key).decode() == "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="


def test_scram_sha_1_hashes_the_user_into_the_password() -> None:
    salt = base64.b64decode("QSXCR+Q6sek8bf92")
    assert stored_key("SCRAM-SHA-1", "user", "pencil", salt, 4096) != stored_key("SCRAM-SHA-1", "other", "pencil", salt, 4096)


@pytest.mark.parametrize(
    ("text", "prepared"), [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")]
)
def test_saslprep_agrees_with_rfc_4013(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031"])
def test_saslprep_refuses_what_rfc_4013_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="SASLprep"):
        saslprep(text)


def credentials(user: str, password: str, *mechanisms: str) -> dict[str, Any]:
    salt = b"0123456789abcdef"
    return {
        name: {
            "iterationCount": 1000,
            "salt": base64.b64encode(salt).decode(),
            "storedKey": base64.b64encode(stored_key(name, user, password, salt, 1000)).decode(),
        }
        for name in mechanisms
    }


@pytest.mark.parametrize("mechanisms", [("SCRAM-SHA-1",), ("SCRAM-SHA-256",), ("SCRAM-SHA-1", "SCRAM-SHA-256")])
def test_a_password_is_recognised_and_another_is_not(mechanisms: tuple[str, ...]) -> None:
    stored = credentials("u", "right", *mechanisms)
    assert password_matches("u", "right", stored) is True
    assert password_matches("u", "wrong", stored) is False


def test_without_credentials_nothing_is_claimed() -> None:
    assert password_matches("u", "p", {}) is None
    assert password_matches("u", "p", {"external": True}) is None
    assert password_matches("u", "p", {"SCRAM-SHA-256": {"salt": "%"}}) is None
