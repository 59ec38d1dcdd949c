# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge certificates and a certificate authority from their PEM texts. Pure, and run on the controller only."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Iterable

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    HAS_CRYPTOGRAPHY = True
except ImportError:
    # Ansible lists its plugins also where a library of theirs is missing: the filters say so when they are used.
    HAS_CRYPTOGRAPHY = False

CRYPTOGRAPHY_MISSING = (
    "the Python library cryptography is missing on the controller; install it with pip (requirements/controller.txt has it)"
)


def now_utc() -> dt.datetime:
    """The present moment, with its zone."""
    return dt.datetime.now(dt.UTC)


def canonical(name: str) -> str:
    """Return one spelling for a DNS name (lower case) or an address (its shortest form)."""
    text = name.strip().lower()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def subject_alternative_names(names: Iterable[str]) -> list[str]:
    """Return the names as `DNS:...` and `IP:...`, each once, in the given order."""
    found: dict[str, None] = {}
    for name in names:
        text = canonical(name)
        try:
            ipaddress.ip_address(text)
        except ValueError:
            found[f"DNS:{text}"] = None
        else:
            found[f"IP:{text}"] = None
    return list(found)


def _key_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's public key (SubjectPublicKeyInfo), as hex pairs with colons: community.crypto's form."""
    digest = hashlib.sha256(_key_bytes(certificate.public_key())).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


def names_of(certificate: x509.Certificate) -> set[str]:
    """The certificate's DNS names and addresses, each in its one spelling."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = {canonical(name) for name in extension.get_values_for_type(x509.DNSName)}
    return names | {str(address) for address in extension.get_values_for_type(x509.IPAddress)}


def days_left(certificate: x509.Certificate, now: dt.datetime) -> int:
    """Whole days until the certificate ends; negative after its end."""
    return (certificate.not_valid_after_utc - now).days


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def reasons_to_issue(
    certificate_pem: str,
    authority_pem: str,
    fingerprint: str,
    names: Iterable[str],
    renew_before_days: int,
    now: dt.datetime,
    unit: str = "",
) -> list[str]:
    """Return why a new certificate is due, in words; an empty list when the present one is good.

    `fingerprint` is the SHA-256 of the host's public key (see key_fingerprint), empty when the host has no key yet. `unit` is the
    organisational unit that the subject should have, empty for none.
    """
    if not certificate_pem.strip():
        return ["there is none yet"]
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        present = names_of(certificate)
    except ValueError:
        return ["it cannot be read"]
    reasons = []
    if not fingerprint or key_fingerprint(certificate) != fingerprint.lower():
        reasons.append("the host has another key")
    if not authority_pem.strip() or not _issued_by(certificate, x509.load_pem_x509_certificate(authority_pem.encode())):
        reasons.append("another authority signed it")
    wanted = {canonical(name) for name in names}
    if wanted != present:
        words = [f"+{name}" for name in sorted(wanted - present)] + [f"-{name}" for name in sorted(present - wanted)]
        reasons.append(f"the names differ ({' '.join(words)})")
    units = [str(name.value) for name in certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if units != ([unit] if unit else []):
        reasons.append(f"its unit is {', '.join(units) or 'missing'}, not {unit or 'none'}")
    left = days_left(certificate, now)
    if certificate.not_valid_after_utc <= now:
        reasons.append(f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    elif left < renew_before_days:
        reasons.append(f"it expires in {left} days (renewed below {renew_before_days})")
    return reasons


def authority_problem(key_pem: str, certificate_pem: str, passphrase: str, needed_days: int, now: dt.datetime) -> str:
    """Say what makes an authority unusable, as the end of a sentence; empty when it is good or not made yet.

    `needed_days` is how long it must still be good for.
    """
    if not key_pem.strip():
        return "holds a certificate without its key" if certificate_pem.strip() else ""
    try:
        key = load_pem_private_key(key_pem.encode(), passphrase.encode())
    except TypeError:
        return "holds a key that is not encrypted"
    except ValueError:
        return "holds a key that this passphrase does not open"
    if not certificate_pem.strip():
        return ""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound):
        return "holds a certificate that is not one of an authority"
    if not basic.ca:
        return "holds a certificate that is not one of an authority"
    if _key_bytes(key.public_key()) != _key_bytes(certificate.public_key()):
        return "holds a certificate that does not belong to its key"
    if days_left(certificate, now) < needed_days:
        return f"holds an authority that ends on {certificate.not_valid_after_utc:%Y-%m-%d}, within {needed_days} days"
    return ""
