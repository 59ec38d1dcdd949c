"""Fingerprints of OpenPGP keys, against keys and fingerprints that GnuPG made."""

from __future__ import annotations

import base64

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter.openpgp_fingerprint import openpgp_fingerprint
from ansible_collections.linda.ops.plugins.module_utils._openpgp import BEGIN, END, fingerprint
from hypothesis import given
from hypothesis import strategies as st

ED25519 = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawPaMxYJKwYBBAHaRw8BAQdAc5GtFP1vfsF0MH5MTipDY0d0zw36qBlaB3Mq
EQEzpWO0G1Rlc3Qgb25lIDxvbmVAZXhhbXBsZS50ZXN0PoiQBBMWCAA4FiEERgXE
TP0jT0wJaichsFlGTuD0/jgFAmsD2jMCGwMFCwkIBwIGFQoJCAsCBBYCAwECHgEC
F4AACgkQsFlGTuD0/jg8lgEAm3qgeNdYa55jhFvvYjyFgLBPUtGfR20yU+xiQ9rZ
fnMA+wWgUWELhaZNGXcf1tReLTf9WNJNx4COxp2/L0JpG2EC
=EcDG
-----END PGP PUBLIC KEY BLOCK-----
"""
RSA = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mQENBGsD2jMBCADH5Zv01hPLxrkewftxXZllASAxPFuCWaGDm6NXL/3BDM7dH0pG
L/mr71u+U7PQN5gJ7MZuoygiUzpjiObgkWy3WPSVttxeCzxQGu/W4A/gVOw4plMn
zIpvWPaQPRCgLCUqlq+07+PJrYzcxv6KQpM4Ddr9B/U6Nd3RNtTora6zog9ODxJ7
YXX7K5cjQyjkZeqIh3hyhAHFjtonEUOOW90KSVQF8DTkoctmPxDj4YYjm4Jt+vry
QCgMTeJ/zvMibYlcTIJX7dguHRR+HWz2bxbIMZB6MZABKI76oHSKLye1guUgJOGF
7CTjnq7wCqCtASj/HswLrISuVRiksiGjsm8JABEBAAG0G1Rlc3QgdHdvIDx0d29A
ZXhhbXBsZS50ZXN0PokBTgQTAQoAOBYhBIoO4YXSI9QGnn3mYBf49ttLh6VCBQJr
A9ozAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEBf49ttLh6VCG3AIALAS
9m71hw7UNUWZHNl2Iz6w9InellZT6fenuFgp90LAaYH2TFcOgFaQZ8+WU+Y2yXCR
68YOkELltcm8bwmCfrHrqKtTEr2iNO+LEJnwNpbXfmTbb6njzgGOaIW6VfB1YZ6W
y8kcoHidhkeu0vhP3hfgikP5HsosCEzAkFblw1wen7WHA68DeI5LsuYd5/+WI0Zh
Qe8v4PQSpTEvatft/dkEId5RAV54kA34ndNAWnSVGX/QgP+1fD1H6VNaHA4mWk3I
5Gpvx/7CQ0xhgO+Ky+9cQ9nP/J0xtGlIIBkHQpmHlGLwOoIQBG7mDbI9xCVxLQVj
83vR2ON6W0oH3wKAIQk=
=ivP2
-----END PGP PUBLIC KEY BLOCK-----
"""


def bytes_of(armored: str) -> bytes:
    lines = armored.strip().splitlines()
    return base64.b64decode("".join(lines[2:-2]))


def armor(raw: bytes) -> str:
    return f"{BEGIN}\n\n{base64.b64encode(raw).decode()}\n{END}\n"


@pytest.mark.parametrize(
    ("key", "expected"),
    [(ED25519, "4605C44CFD234F4C096A2721B059464EE0F4FE38"), (RSA, "8A0EE185D223D4069E7DE66017F8F6DB4B87A542")],
)
def test_it_agrees_with_gnupg(key: str, expected: str) -> None:
    assert fingerprint(key) == openpgp_fingerprint(f"\n{key}\n\n") == expected
    with_header = key.replace("BLOCK-----\n\n", "BLOCK-----\nComment: with a header\n\n", 1).replace("\n", "\r\n")
    assert fingerprint(with_header) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not one"),
        ("hello", "not one"),
        (ED25519 + RSA, "not one"),
        (armor(bytes_of(ED25519) + bytes_of(RSA)), "2 public keys"),
        (armor(b""), "no public keys"),
        (ED25519.replace("mDME", "mDMF", 1), "checksum"),
        (ED25519.replace("=EcDG", "=EcDH"), "checksum"),
        (ED25519.replace("mDME", "m!ME", 1), "base64"),
        (armor(bytes_of(ED25519)[:20]), "in the middle"),
        (armor(b"\x00" + bytes_of(ED25519)), "not made of"),
        (armor(b"\x98\x03\x03ab"), "version 3"),
        (armor(b"\x9b" + bytes_of(ED25519)), "without a length"),
        (armor(b"\xc6\xe0" + bytes_of(ED25519)), "partial"),
    ],
)
def test_everything_else_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fingerprint(text)
    with pytest.raises(AnsibleFilterError, match=why):
        openpgp_fingerprint(text)


def test_a_new_format_header_changes_nothing() -> None:
    raw = bytes_of(ED25519)
    assert raw[0] == 0x98, "GnuPG writes the old format"
    body = raw[2 : 2 + raw[1]]
    assert fingerprint(armor(b"\xc6" + bytes([len(body)]) + body)) == fingerprint(ED25519)
    assert fingerprint(armor(b"\xc6\xff" + len(body).to_bytes(4, "big") + body)) == fingerprint(ED25519)


@given(st.binary(max_size=200))
def test_no_bytes_lead_to_anything_but_a_refusal_or_a_fingerprint(raw: bytes) -> None:
    try:
        found = fingerprint(armor(raw))
    except ValueError:
        return
    assert len(found) in (40, 64)
