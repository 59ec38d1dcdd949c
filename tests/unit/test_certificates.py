# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a certificate is due, and what makes an authority unusable: judged on real keys and certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from ansible_collections.linda.ops.plugins.module_utils._certificates import (
    authority_problem,
    key_fingerprint,
    reasons_to_issue,
    subject_alternative_names,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAMES = ["api1.linda.test", "198.18.10.21"]
PASSPHRASE = "correct horse battery"  # noqa: S105  -- of a key that lives as long as this test


def make(
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: str = "CA",
    days: int = 365,
    names: list[str] | None = None,
    ca: bool = False,
    unit: str = "",
) -> str:
    units = [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*units, x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA" if ca else "leaf")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=1000))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )
    if names:
        entries: list[x509.GeneralName] = []
        for name in names:
            try:
                entries.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                entries.append(x509.DNSName(name))
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


CA_KEY, LEAF_KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
CA = make(CA_KEY, CA_KEY, ca=True, days=3650)
LEAF = make(LEAF_KEY, CA_KEY, names=NAMES)
FINGERPRINT = key_fingerprint(x509.load_pem_x509_certificate(LEAF.encode()))


def reasons(
    certificate: str = LEAF, authority: str = CA, fingerprint: str = FINGERPRINT, names: list[str] | None = None, unit: str = ""
) -> list[str]:
    return reasons_to_issue(certificate, authority, fingerprint, names or NAMES, 60, NOW, unit)


def test_a_good_certificate_is_left_alone_in_whatever_order_and_spelling_its_names_come() -> None:
    assert reasons() == []
    assert reasons(names=["198.18.10.21", "API1.Linda.Test"]) == []
    ipv6 = make(LEAF_KEY, CA_KEY, names=["2001:db8::1"])
    assert reasons(ipv6, names=["2001:0DB8:0::1"]) == []


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("", "there is none yet"),
        ("-----BEGIN CERTIFICATE-----\nhalf of it", "it cannot be read"),
        (make(OTHER_KEY, CA_KEY, names=NAMES), "the host has another key"),
        (make(LEAF_KEY, OTHER_KEY, names=NAMES), "another authority signed it"),
        (make(LEAF_KEY, CA_KEY, issuer="Else", names=NAMES), "another authority signed it"),
        (make(LEAF_KEY, CA_KEY, names=["api1.linda.test", "x.linda.test"]), "the names differ (+198.18.10.21 -x.linda.test)"),
        (make(LEAF_KEY, CA_KEY), "the names differ (+198.18.10.21 +api1.linda.test)"),
        (make(LEAF_KEY, CA_KEY, days=59, names=NAMES), "it expires in 59 days (renewed below 60)"),
        (make(LEAF_KEY, CA_KEY, days=-1, names=NAMES), "it expired on 2025-12-31"),
    ],
)
def test_each_fault_is_a_reason_and_the_only_one(certificate: str, words: str) -> None:
    assert reasons(certificate) == [words]


def test_the_unit_in_the_subject_counts() -> None:
    member = make(LEAF_KEY, CA_KEY, names=NAMES, unit="mongodb")
    assert reasons(member, unit="mongodb") == []
    assert reasons(member) == ["its unit is mongodb, not none"]
    assert reasons(unit="mongodb") == ["its unit is missing, not mongodb"]


def test_exactly_the_days_asked_for_are_enough() -> None:
    assert reasons(make(LEAF_KEY, CA_KEY, days=60, names=NAMES)) == []


def test_a_host_without_a_key_and_a_controller_without_an_authority_need_a_new_one() -> None:
    assert reasons(fingerprint="") == ["the host has another key"]
    assert reasons(authority="") == ["another authority signed it"]
    assert reasons(authority=make(OTHER_KEY, OTHER_KEY, ca=True)) == ["another authority signed it"]


def test_names_become_alternative_names_once_each() -> None:
    assert subject_alternative_names(["A.test", "a.test", "127.0.0.1", "::1", "*.b.test"]) == [
        "DNS:a.test",
        "IP:127.0.0.1",
        "IP:::1",
        "DNS:*.b.test",
    ]


def pem(key: ec.EllipticCurvePrivateKey, passphrase: str = PASSPHRASE) -> str:
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


@pytest.mark.parametrize(
    ("key", "certificate", "words"),
    [
        ("", "", ""),
        (pem(CA_KEY), "", ""),
        (pem(CA_KEY), CA, ""),
        ("", CA, "holds a certificate without its key"),
        (pem(CA_KEY, ""), CA, "holds a key that is not encrypted"),
        (pem(CA_KEY, "another passphrase"), CA, "holds a key that this passphrase does not open"),
        ("nonsense", CA, "holds a key that this passphrase does not open"),
        (pem(CA_KEY), "nonsense", "holds a certificate that is not one of an authority"),
        (pem(LEAF_KEY), LEAF, "holds a certificate that is not one of an authority"),
        (pem(OTHER_KEY), CA, "holds a certificate that does not belong to its key"),
        (pem(CA_KEY), make(CA_KEY, CA_KEY, ca=True, days=59), "holds an authority that ends on 2026-03-01, within 60 days"),
    ],
)
def test_an_authority_is_judged(key: str, certificate: str, words: str) -> None:
    problem = authority_problem(key, certificate, PASSPHRASE, 60, NOW)
    assert problem == words
    assert PASSPHRASE not in problem
