"""Certificates and servers on loopback for the tests of the checks."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Leaf:
    """Paths of a certificate with its chain, its key, and both in one file."""

    chain: Path
    key: Path
    both: Path


class Authority:
    """A certificate authority in a directory; `file` is its certificate."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + 400 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / "ca.pem"
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.file.write_text(self.pem)

    def leaf(self, name: str, days: float = 90, *, age: float = 1, use_rsa: bool = False) -> Leaf:
        """A certificate for a DNS name and 127.0.0.1, valid from `age` days ago until `days` from now."""
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048) if use_rsa else ec.generate_private_key(ec.SECP256R1())
        )
        now = datetime.datetime.now(datetime.UTC)
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = self._directory / f"leaf-{x509.random_serial_number():x}"
        leaf = Leaf(stem.with_suffix(".crt"), stem.with_suffix(".key"), stem.with_suffix(".pem"))
        leaf.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        leaf.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        leaf.key.chmod(0o600)
        leaf.both.write_bytes(leaf.chain.read_bytes() + leaf.key.read_bytes())
        leaf.both.chmod(0o600)
        return leaf


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection on a free port of loopback with `handle`, in threads; yields the port."""
    stopping = threading.Event()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            handle(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def accept() -> None:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stopping.set()
            thread.join()


def tls_context(leaf: Leaf, low: str = "TLSv1.2", high: str = "TLSv1.3") -> ssl.SSLContext:
    """A server's context that speaks the protocols low..high, also those that OpenSSL no longer speaks by default."""
    versions = {
        "TLSv1": ssl.TLSVersion.TLSv1,
        "TLSv1.1": ssl.TLSVersion.TLSv1_1,
        "TLSv1.2": ssl.TLSVersion.TLSv1_2,
        "TLSv1.3": ssl.TLSVersion.TLSv1_3,
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.chain, leaf.key)
    if low in ("TLSv1", "TLSv1.1"):
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = versions[low]
    context.maximum_version = versions[high]
    return context


@contextlib.contextmanager
def tls_server(
    leaf: Leaf, low: str = "TLSv1.2", high: str = "TLSv1.3", handle: Callable[[socket.socket], None] | None = None
) -> Iterator[int]:
    """A TLS server on loopback; `handle` gets each connection after the handshake."""
    context = tls_context(leaf, low, high)

    def one(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            if handle is not None:
                handle(secured)
            else:
                secured.recv(1)

    with serving(one) as port:
        yield port


def answer(text: bytes) -> Callable[[socket.socket], None]:
    """A handler that reads the head of a request and sends `text`, whatever was asked."""

    def handle(connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return
            data += part
        connection.sendall(text)

    return handle
