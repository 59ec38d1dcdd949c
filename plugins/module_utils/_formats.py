# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Named formats of values, with the words to say what is wrong and how to write it right. Pure."""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.linda.ops.plugins.module_utils._mongodb_keyfile import is_keyfile

TRUE_WORDS = frozenset({"y", "yes", "on", "1", "true", "t"})
FALSE_WORDS = frozenset({"n", "no", "off", "0", "false", "f"})


def closest(name: str, known: Iterable[str], prefix: str = "") -> str | None:
    """The known name most like `name`, or None. What all names share (`prefix`) does not count as likeness."""
    bare = {candidate.removeprefix(prefix): candidate for candidate in sorted(known)}
    found = difflib.get_close_matches(name.removeprefix(prefix), list(bare), n=1, cutoff=0.6)
    return bare[found[0]] if found else None


def is_int(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?\d+\s*", value, re.ASCII) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def is_float(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", value, re.ASCII) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_bool(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in TRUE_WORDS | FALSE_WORDS
    return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))


def is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


@dataclass(frozen=True)
class Format:
    """A named shape of a value.

    article: what such a value is, with its article ("a port").
    remedy:  how to write one, as a sentence without a full stop.
    accepts: the test; it takes any value and never raises.
    problem: what another value is instead, when "is not <article>" would not be plain.
    """

    article: str
    remedy: str
    accepts: Callable[[object], bool]
    problem: str = ""

    @property
    def complaint(self) -> str:
        """What is said of a value that does not have this format ("is not a port")."""
        return self.problem or f"is not {self.article}"


_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)


def is_dns_name(value: object) -> bool:
    """RFC 1123: labels of letters, digits and inner hyphens, 1..63 each, 253 in all, the last one not a number."""
    if not isinstance(value, str) or not 1 <= len(value) <= 253:
        return False
    labels = value.split(".")
    return all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_address(value: object) -> bool:
    """An IPv4 or IPv6 address without a zone and without a prefix length."""
    try:
        return isinstance(value, str) and "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def is_cidr(value: object) -> bool:
    """A network with its prefix length and no host bits set, for example `198.18.10.0/24`."""
    try:
        return (
            isinstance(value, str)
            and value.count("/") == 1
            and value.rpartition("/")[2].isdigit()
            and bool(ipaddress.ip_network(value, strict=True))
        )
    except ValueError:
        return False


def is_port(value: object) -> bool:
    """A TCP or UDP port 1..65535, as a number or as its digits."""
    return is_int(value) and isinstance(value, int | str) and 1 <= int(value) <= 65535


def is_host_port(value: object) -> bool:
    """`name:port`, `address:port` or `[IPv6 address]:port`."""
    if not isinstance(value, str):
        return False
    host, separator, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        return bool(separator) and ":" in host and is_address(host[1:-1]) and port.isdigit() and is_port(port)
    return bool(separator) and (is_dns_name(host) or (is_address(host) and ":" not in host)) and port.isdigit() and is_port(port)


def is_path(value: object) -> bool:
    """An absolute path in its shortest form: no `.`, `..`, empty parts or control characters."""
    if not isinstance(value, str) or not value.startswith("/") or any(ord(character) < 32 or ord(character) == 127 for character in value):
        return False
    return value == "/" or all(part not in {"", ".", ".."} for part in value[1:].split("/"))


def is_url(value: object) -> bool:
    """An http or https URL with a host, without credentials and blanks."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        return False
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    return parts.scheme in {"http", "https"} and parts.username is None and (is_dns_name(host) or is_address(host)) and port != 0


def is_ssh_public_key(value: object) -> bool:
    """One line of `authorized_keys` without options: type, base64 body that names the same type, optional comment."""
    parts = value.strip().split(None, 2) if isinstance(value, str) and "\n" not in value.strip() else []
    if len(parts) < 2 or not re.fullmatch(r"[a-z0-9@.-]+", parts[0]):
        return False
    try:
        body = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return False
    kind = parts[0].encode()
    return body[: 4 + len(kind)] == len(kind).to_bytes(4, "big") + kind and len(body) > 4 + len(kind)


def _number_between(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: is_float(value) and isinstance(value, int | float | str) and low <= float(value) <= high


def _whole_from(low: int) -> Callable[[object], bool]:
    return lambda value: is_int(value) and isinstance(value, int | str) and int(value) >= low


def _text(pattern: str) -> Callable[[object], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _nonempty(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None and value not in ([], {}, ())


FORMATS: dict[str, Format] = {
    "absolute_path": Format("an absolute path", "Write a path that begins with / and has no . or .. in it", is_path),
    "address": Format("an IPv4 or IPv6 address", "Write an address such as 192.0.2.10, without a prefix length", is_address),
    "cidr": Format("a network", "Write the first address of the network and its prefix length, such as 192.0.2.0/24", is_cidr),
    "dns_name": Format(
        "a DNS name (RFC 1123)", "Use letters, digits and hyphens in labels separated by dots, such as api.example.org", is_dns_name
    ),
    "duration": Format("a duration", "Write a number and a unit (ms, s, m, h or d), such as 30s", _text(r"\d+(ms|s|m|h|d)")),
    "email": Format(
        "a mail address",
        "Write an address such as ops@example.org",
        lambda value: (
            isinstance(value, str)
            and bool(re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}", value.rpartition("@")[0]))
            and is_dns_name(value.rpartition("@")[2])
        ),
    ),
    "file_name": Format(
        "a file name", "Use letters, digits, dots, hyphens and underscores, and no /", _text(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
    ),
    "fingerprint": Format(
        "a key fingerprint", "Write its 40 or 64 hexadecimal digits without blanks or colons", _text(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
    ),
    "fqdn": Format(
        "a fully qualified DNS name",
        "Write the whole name, such as api.example.org",
        lambda value: is_dns_name(value) and "." in str(value),
    ),
    "host": Format(
        "a DNS name or an address",
        "Write a name such as api.example.org or an address such as 192.0.2.10",
        lambda value: is_dns_name(value) or is_address(value),
    ),
    "host_port": Format("a host and port", "Write host:port, such as api.example.org:8000", is_host_port),
    "hostname": Format(
        "a host name (one label of RFC 1123)",
        "Use letters, digits and inner hyphens, such as api1",
        lambda value: is_dns_name(value) and "." not in str(value),
    ),
    "identifier": Format(
        "an identifier", "Use letters, digits and underscores, and do not begin with a digit", _text(r"[A-Za-z_][A-Za-z0-9_]*")
    ),
    "ipv4": Format("an IPv4 address", "Write an address such as 192.0.2.10", lambda value: is_address(value) and ":" not in str(value)),
    "ipv6": Format("an IPv6 address", "Write an address such as 2001:db8::10", lambda value: is_address(value) and ":" in str(value)),
    "keyfile": Format("the content of a MongoDB key file", "Make one with: openssl rand -base64 756", is_keyfile),
    "network": Format(
        "an address or a network",
        "Write an address such as 192.0.2.10, or a network by its first address and prefix length, such as 192.0.2.0/24",
        lambda value: is_address(value) or is_cidr(value),
    ),
    "nonempty": Format("filled in", "Write at least one element or character", _nonempty, "is empty"),
    "nonnegative": Format("zero or a positive whole number", "Write a whole number from 0 up", _whole_from(0)),
    "nonnegative_number": Format("zero or a positive number", "Write a number from 0 up", _number_between(0, sys.float_info.max)),
    "octal_mode": Format("a file mode", 'Write the octal digits in quotes, such as "0640"', _text(r"0?[0-7]{3,4}")),
    "one_line": Format(
        "one line of text",
        "Remove line breaks and control characters",
        lambda value: isinstance(value, str) and all(ord(character) >= 32 and ord(character) != 127 for character in value),
    ),
    "oplog_mb": Format(
        "0 or a size that a running server's oplog can be given",
        "Write a whole number of MB from 990 up, or 0 to leave it to the server",
        lambda value: _whole_from(0)(value) and (int(str(value)) == 0 or 990 <= int(str(value)) <= 2**30),
    ),
    "percentage": Format("a percentage (0..100)", "Write a number from 0 to 100", _number_between(0, 100)),
    "pgp_public_key": Format(
        "an ASCII-armoured OpenPGP public key",
        "Export it with: gpg --armor --export FINGERPRINT",
        _text(r"(?s)\s*-----BEGIN PGP PUBLIC KEY BLOCK-----\n.+\n-----END PGP PUBLIC KEY BLOCK-----\s*"),
    ),
    "port": Format("a port (1..65535)", "Write a whole number from 1 to 65535", is_port),
    "positive": Format("a positive whole number", "Write a whole number from 1 up", _whole_from(1)),
    "relative_path": Format(
        "a relative path",
        "Write a path without a leading / and without . or .. in it",
        lambda value: isinstance(value, str) and value != "" and is_path(f"/{value}"),
    ),
    "safe_path": Format(
        "an absolute path below /",
        "Write a path that begins with /, is more than / itself, and has no . or .. in it",
        lambda value: is_path(value) and value != "/",
    ),
    "sha256": Format("a SHA-256 digest", "Write its 64 hexadecimal digits", _text(r"[0-9A-Fa-f]{64}")),
    "size": Format("a size", "Write a whole number and k, m or g, such as 16m", _text(r"\d+[kKmMgG]?")),
    "ssh_public_key": Format("an SSH public key", "Paste the one line of the .pub file", is_ssh_public_key),
    "timezone": Format(
        "a time zone", "Write a name of the tz database, such as Etc/UTC", _text(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
    ),
    "unit": Format(
        "a systemd unit",
        "Write the unit with its type, such as nginx.service",
        _text(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|target|path|mount)"),
    ),
    "unix_name": Format(
        "a name of a Unix account or group",
        "Use 1..32 lower-case letters, digits, - and _, and begin with a letter",
        _text(r"[a-z_][a-z0-9_-]{0,31}"),
    ),
    "url": Format("an http or https URL", "Write a URL such as https://example.org/path, without a user or a password in it", is_url),
    "version": Format("a version", 'Write a version in quotes, such as "1.2.3"', _text(r"(\d+:)?\d+(\.\d+){0,3}([-+~.][0-9A-Za-z]+)*")),
    "wildcard_dns_name": Format(
        "a DNS name (RFC 1123), with or without a leading *.",
        "Write a name such as api.example.org or *.example.org",
        lambda value: (
            is_dns_name(value) or (isinstance(value, str) and value.startswith("*.") and is_dns_name(value[2:]) and "." in value[2:])
        ),
    ),
}


def format_named(name: str) -> Format:
    """The format of that name; `secret_min_N` exists for every N. Raises ValueError naming the closest format."""
    if name in FORMATS:
        return FORMATS[name]
    if found := re.fullmatch(r"secret_min_(\d+)", name):
        least = int(found[1])
        return Format(
            f"a secret of at least {least} characters",
            f"Make one with: openssl rand -hex {max(least, 16)}",
            lambda value: isinstance(value, str) and len(value) >= least and value == value.strip() and "\n" not in value,
        )
    near = closest(name, FORMATS)
    raise ValueError(f"there is no format {name}" + (f"; did you mean {near}?" if near else f"; the formats are: {', '.join(FORMATS)}"))
