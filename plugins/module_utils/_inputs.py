# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges the inputs of a role against its argument specification. Pure: no templating, no I/O.

Every finding is a `Violation`, which reads as one sentence: variable, value, problem, remedy. A value of an option that the
specification marks `no_log` is never part of a violation.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

SECRET = "(secret, not shown)"  # noqa: S105  # what is printed in place of a secret
_SECRET_WORDS = re.compile(r"pass|pwd|secret|token|key|credential|pepper|salt", re.IGNORECASE)
_SHOWN_LENGTH = 80
_TRUE_WORDS = frozenset({"y", "yes", "on", "1", "true", "t"})
_FALSE_WORDS = frozenset({"n", "no", "off", "0", "false", "f"})


# --- findings -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Violation:
    """One thing wrong with one input.

    variable: path of the value, for example `mongodb_members[1].host`.
    problem:  predicate that continues "variable = value", without a full stop ("is not a port (1..65535)").
    remedy:   whole sentence that says what to do.
    shown:    the value as text, or None when there is none to show; never a secret.
    origin:   where the value was written (`file:line`), when known.
    """

    variable: str
    problem: str
    remedy: str
    shown: str | None = None
    origin: str | None = None

    def sentence(self) -> str:
        """The violation without the host, for example `edge_port = 99999 is not a port (1..65535). Set a whole number ...`."""
        value = f" = {self.shown}" if self.shown is not None else ""
        origin = f" ({self.origin})" if self.origin else ""
        remedy = self.remedy if self.remedy.endswith((".", "?", "!")) else f"{self.remedy}."
        return f"{self.variable}{value} {self.problem.rstrip('.')}. {remedy}{origin}"


def message(host: str, violations: Iterable[Violation], secrets: Iterable[str] = ()) -> str:
    """All violations of one host as text, one line each, with every string of `secrets` blotted out."""
    return scrub("\n".join(f"host {host}: {violation.sentence()}" for violation in violations), secrets)


def message_of_hosts(violations: Mapping[str, Sequence[Violation]]) -> str:
    """Violations by host as text; what several hosts share is one line: `host api1 (and 3 more): ...`."""
    shared: dict[str, list[str]] = {}
    for host, found in violations.items():
        for violation in found:
            shared.setdefault(violation.sentence(), []).append(host)
    return "\n".join(
        f"host {hosts[0]}{f' (and {len(hosts) - 1} more)' if hosts[1:] else ''}: {sentence}" for sentence, hosts in shared.items()
    )


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of the `secrets` of four characters or more; the last guard, in case a secret got into another value."""
    for secret in sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True):
        for form in (secret, json.dumps(secret, ensure_ascii=False)[1:-1]):
            text = text.replace(form, "********")
    return text


def show(value: object) -> str:
    """A value as it would be written in an inventory, on one line and at most about 80 characters long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 4]} ..."


def looks_secret(name: str) -> bool:
    """Whether a variable's name says that its value may be a secret."""
    return bool(_SECRET_WORDS.search(name))


# --- specification --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """One option of an argument specification (the keys of Ansible's role argument specs that matter to a check)."""

    name: str
    type: str = "str"
    required: bool = False
    secret: bool = False
    elements: str | None = None
    choices: tuple[object, ...] = ()
    default: object = None
    description: str = ""
    options: Mapping[str, Option] | None = None

    @classmethod
    def parse(cls, name: str, data: Mapping[str, object]) -> Option:
        """An option from its YAML mapping. Raises ValueError with the option's name on a malformed one."""
        nested = data.get("options")
        choices = data.get("choices") or []
        if not isinstance(choices, list) or not (nested is None or isinstance(nested, Mapping)):
            raise ValueError(f"the argument specification of {name} is malformed: choices is a list, options is a mapping")
        text = data.get("description") or ""
        return cls(
            name=name,
            type=str(data.get("type") or "str"),
            required=bool(data.get("required", False)),
            secret=bool(data.get("no_log", False)),
            elements=str(data["elements"]) if data.get("elements") else None,
            choices=tuple(choices),
            default=data.get("default"),
            description=str(text[0] if isinstance(text, list) and text else text),
            options=None if nested is None else parse_options(nested),
        )


def parse_options(data: Mapping[str, object]) -> dict[str, Option]:
    """The `options` of one entry point. Raises ValueError naming the malformed option."""
    options = {}
    for name, option in data.items():
        if not isinstance(option, Mapping):
            raise ValueError(f"the argument specification of {name} is malformed: it must be a mapping")
        options[str(name)] = Option.parse(str(name), option)
    return options


@dataclass(frozen=True)
class RoleSpec:
    """What a role accepts: the options of one entry point, and the names known to any of them."""

    role: str
    options: Mapping[str, Option]
    known: frozenset[str]

    @classmethod
    def parse(cls, role: str, data: Mapping[str, object], entry_point: str = "main") -> RoleSpec:
        """Read `meta/argument_specs.yml` (as loaded from YAML). Raises ValueError on a malformed file or unknown entry point."""
        specs = data.get("argument_specs")
        if not isinstance(specs, Mapping) or entry_point not in specs:
            raise ValueError(f"meta/argument_specs.yml of role {role} has no entry point {entry_point}")
        by_entry: dict[str, dict[str, Option]] = {}
        for entry, spec in specs.items():
            options = spec.get("options") if isinstance(spec, Mapping) else None
            if options is not None and not isinstance(options, Mapping):
                raise ValueError(f"meta/argument_specs.yml of role {role}: options of entry point {entry} must be a mapping")
            by_entry[str(entry)] = parse_options(options or {})
        # An option of another entry point may be set too: it is checked when set, and never required here.
        options = {name: replace(option, required=False) for entry in by_entry.values() for name, option in entry.items()}
        options.update(by_entry[entry_point])
        return cls(role=role, options=options, known=frozenset(options))


# --- names ----------------------------------------------------------------------------------------------------------------


def closest(name: str, known: Iterable[str], prefix: str = "") -> str | None:
    """The known name most like `name`, or None. What all names share (`prefix`) does not count as likeness."""
    bare = {candidate.removeprefix(prefix): candidate for candidate in sorted(known)}
    found = difflib.get_close_matches(name.removeprefix(prefix), list(bare), n=1, cutoff=0.6)
    return bare[found[0]] if found else None


def unknown_names(names: Iterable[str], prefix: str, known: Collection[str], other_prefixes: Iterable[str] = ()) -> list[str]:
    """Names that begin with `prefix` and that nobody declared, sorted.

    other_prefixes: prefixes of other roles; a longer one that begins with `prefix` takes its names away.
    """
    others = tuple(other for other in other_prefixes if other != prefix and other.startswith(prefix))
    return sorted(name for name in names if name.startswith(prefix) and name not in known and not (others and name.startswith(others)))


def unknown_variable(name: str, value: object, owner: str, options: Mapping[str, Option], prefix: str) -> Violation:
    """The violation for a variable that nobody knows. A value that may be a misspelt secret is not shown.

    owner: who owns the prefix, for example `role edge`.
    """
    near = closest(name, options, prefix)
    hidden = looks_secret(name) or (near is not None and options[near].secret)
    remedy = f"Did you mean {near}?" if near else f"Remove it, or look up the name among the inputs of {owner}"
    return Violation(name, f"is not an input of {owner}", remedy, SECRET if hidden else show(value))


# --- types ----------------------------------------------------------------------------------------------------------------


def _is_int(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?\d+\s*", value, re.ASCII) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def _is_float(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", value, re.ASCII) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_bool(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _TRUE_WORDS | _FALSE_WORDS
    return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


_TYPES: dict[str, tuple[Callable[[object], bool], str, str]] = {
    "str": (lambda value: isinstance(value, str), "text", "Put quotes around it, so that YAML does not read it as something else"),
    "path": (lambda value: isinstance(value, str), "a path", "Write the path as text"),
    "int": (_is_int, "a whole number", "Write a whole number without quotes or a unit"),
    "float": (_is_float, "a number", "Write a number without quotes or a unit"),
    "bool": (_is_bool, "true or false", "Write true or false"),
    "list": (_is_list, "a list", 'Write a YAML list (with -e: JSON, as in -e \'{"name": ["value"]}\')'),
    "dict": (lambda value: isinstance(value, Mapping), "a mapping", "Write a YAML mapping (with -e: JSON)"),
    "raw": (lambda value: True, "anything", ""),
    "json": (lambda value: isinstance(value, str | Mapping) or _is_list(value), "JSON", "Write JSON"),
    "jsonarg": (lambda value: isinstance(value, str | Mapping) or _is_list(value), "JSON", "Write JSON"),
    "bytes": (lambda value: _matches(r"\d+(\.\d+)?\s*[KMGTPEZY]?i?B?", value), "a size in bytes (such as 10M)", "Write a size such as 10M"),
    "bits": (lambda value: _matches(r"\d+(\.\d+)?\s*[KMGTPEZY]?b?", value), "a size in bits (such as 10Mb)", "Write a size such as 10Mb"),
}


def _matches(pattern: str, value: object) -> bool:
    """Whether text (or a number written as text) matches the whole pattern, ignoring case."""
    return isinstance(value, str | int | float) and re.fullmatch(pattern, str(value), re.IGNORECASE | re.ASCII) is not None


def _equal(value: object, choice: object) -> bool:
    """Whether a value means the same as a choice: `-e` turns every value into text."""
    if isinstance(choice, bool):
        return _is_bool(value) and (value in (True, 1) or str(value).strip().lower() in _TRUE_WORDS) == choice
    return value == choice or (isinstance(value, str) and not isinstance(choice, str) and value.strip() == str(choice))


def redact(value: object, option: Option | None) -> object:
    """The value without the secrets inside it, for showing."""
    if option is None:
        return value
    if option.secret:
        return SECRET
    if option.options is not None:
        if isinstance(value, Mapping):
            nested = option.options
            return {
                key: redact(item, nested.get(str(key))) if str(key) in nested or not looks_secret(str(key)) else SECRET
                for key, item in value.items()
            }
        if _is_list(value) and isinstance(value, Sequence):
            return [redact(item, option) for item in value]
    return value


def secrets_in(value: object, option: Option | None) -> Iterator[str]:
    """Every string that the option's specification marks as secret."""
    if option is None:
        return
    if option.secret:
        yield from _strings(value)
    elif option.options is not None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from secrets_in(item, option.options.get(str(key)))
        elif _is_list(value) and isinstance(value, Sequence):
            for item in value:
                yield from secrets_in(item, option)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def missing(path: str, option: Option) -> Violation:
    """The violation for a required option without a value."""
    purpose = re.split(r"(?<=\.)\s", option.description.strip(), maxsplit=1)[0].rstrip(".")
    hint = f"Set it: {purpose[0].lower() + purpose[1:]}" if purpose else "Set it for this host"
    if option.secret:
        hint += " (a secret: keep it in an Ansible Vault file)"
    return Violation(path, "is not set", hint)


def check_value(path: str, value: object, option: Option) -> Iterator[Violation]:
    """Check one finished value (templates rendered) and everything nested in it against its option."""
    shown = show(redact(value, option)) if not option.secret else SECRET
    if value is None:
        if option.required:
            yield missing(path, option)
        elif option.default is not None:
            yield Violation(path, "has no value", "Write a value, or remove the line to get the role's default", "null")
        return
    accepts, name, remedy = _TYPES.get(option.type, _TYPES["raw"])
    if not accepts(value):
        yield Violation(path, f"is not {name}", remedy, shown)
        return
    if option.choices and not _is_list(value) and not any(_equal(value, choice) for choice in option.choices):
        words = ", ".join(str(choice) for choice in option.choices)
        near = closest(value, [str(choice) for choice in option.choices]) if isinstance(value, str) and not option.secret else None
        yield Violation(path, f"is none of: {words}", f"Did you mean {near}?" if near else "Choose one of these", shown)
    if isinstance(value, Mapping) and option.options is not None:
        yield from _check_mapping(path, value, option)
    elif _is_list(value) and isinstance(value, Sequence):
        element = replace(
            option,
            name=f"{option.name}[]",
            type=option.elements or ("dict" if option.options is not None else "raw"),
            elements=None,
            required=True,
        )
        for position, item in enumerate(value):
            if item is None:
                yield Violation(f"{path}[{position}]", "has no value", "Write a value, or remove the element", "null")
            else:
                yield from check_value(f"{path}[{position}]", item, element)


def _check_mapping(path: str, value: Mapping[object, object], option: Option) -> Iterator[Violation]:
    nested = option.options or {}
    for key, item in value.items():
        if str(key) not in nested:
            near = closest(str(key), nested)
            hidden = option.secret or looks_secret(str(key)) or (near is not None and nested[near].secret)
            remedy = f"Did you mean {near}?" if near else f"Remove it; the keys are: {', '.join(sorted(nested))}"
            yield Violation(f"{path}.{key}", "is not a key of this input", remedy, SECRET if hidden else show(item))
    for name, suboption in nested.items():
        if option.secret:
            suboption = replace(suboption, secret=True)
        if name in value:
            yield from check_value(f"{path}.{name}", value[name], suboption)
        elif suboption.required:
            yield missing(f"{path}.{name}", suboption)


# --- formats --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A named shape of a value: what it is called in a sentence, how to write it, and the test."""

    article: str
    remedy: str
    accepts: Callable[[object], bool]
    problem: str = field(default="")

    def violation(self, path: str, shown: str) -> Violation:
        """The violation for a value that does not have this format."""
        return Violation(path, self.problem or f"is not {self.article}", self.remedy, shown)


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
    return _is_int(value) and isinstance(value, int | str) and 1 <= int(value) <= 65535


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
    return lambda value: _is_float(value) and isinstance(value, int | float | str) and low <= float(value) <= high


def _whole_from(low: int) -> Callable[[object], bool]:
    return lambda value: _is_int(value) and isinstance(value, int | str) and int(value) >= low


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
    "keyfile": Format(
        "the content of a MongoDB key file", "Make one with: openssl rand -base64 756", _text(r"\s*([A-Za-z0-9+/=]\s*){6,1024}")
    ),
    "network": Format(
        "an address or a network",
        "Write an address such as 192.0.2.10, or a network by its first address and prefix length, such as 192.0.2.0/24",
        lambda value: is_address(value) or is_cidr(value),
    ),
    "nonempty": Format("filled in", "Write at least one element or character", _nonempty, "is empty"),
    "nonnegative": Format("zero or a positive whole number", "Write a whole number from 0 up", _whole_from(0)),
    "octal_mode": Format("a file mode", 'Write the octal digits in quotes, such as "0640"', _text(r"0?[0-7]{3,4}")),
    "one_line": Format(
        "one line of text",
        "Remove line breaks and control characters",
        lambda value: isinstance(value, str) and all(ord(character) >= 32 and ord(character) != 127 for character in value),
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
    "version": Format("a version", 'Write a version in quotes, such as "1.2.3"', _text(r"\d+(\.\d+){0,3}([-+~.][0-9A-Za-z.~+-]+)?")),
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


_STEP = re.compile(r"\.?([A-Za-z0-9_*-]+)|\[(\*|\d+)\]")


def parse_path(path: str) -> list[str]:
    """`a[*].b.c` as steps `["a", "*", "b", "c"]`. Raises ValueError on anything else."""
    steps, at = [], 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f"{path!r} is not a path of an input; write it like name[*].key")
        steps.append(found[1] or found[2])
        at = found.end()
    if not steps:
        raise ValueError("an empty path names no input")
    return steps


def select(steps: Sequence[str], value: object, path: str) -> Iterator[tuple[str, object]]:
    """Every (path, value) that the steps lead to; what is not there is left out."""
    if not steps:
        yield path, value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(value, Mapping):
        for key in list(value) if step == "*" else [key for key in value if str(key) == step]:
            yield from select(rest, value[key], f"{path}.{key}")
    elif _is_list(value) and isinstance(value, Sequence):
        positions = range(len(value)) if step == "*" else range(int(step), int(step) + 1) if step.isdigit() else range(0)
        for position in positions:
            if position < len(value):
                yield from select(rest, value[position], f"{path}[{position}]")


def option_at(steps: Sequence[str], options: Mapping[str, Option]) -> Option | None:
    """The option that describes what the steps lead to, marked secret when something above it is; None when nobody describes it."""
    option = options.get(steps[0])
    for step in steps[1:]:
        if option is None:
            return None
        if step == "*" or step.isdigit():
            continue
        if option.options is None or step not in option.options:
            return replace(option, options=None) if option.secret else None
        option = replace(option.options[step], secret=option.secret or option.options[step].secret)
    return option


def check_formats(path: str, names: str | Sequence[str], value: object, options: Mapping[str, Option]) -> Iterator[Violation]:
    """Check the values at `path` below one input.

    names: a format, several that must all hold, or alternatives as `address|dns_name`; `unique` means that no value occurs twice.
    value: the finished value of the input that the path begins with.
    An empty text is accepted where the option's own default is an empty text. Raises ValueError for an unknown format or path.
    """
    steps = parse_path(path)
    option = option_at(steps, options)
    found = [(where, item) for where, item in select(steps[1:], value, steps[0]) if item is not None]
    for name in [names] if isinstance(names, str) else names:
        if name == "unique":
            yield from _check_unique(found, option)
            continue
        formats = [format_named(part.strip()) for part in name.split("|")]
        for where, item in found:
            if item == "" and option is not None and option.default == "":
                continue
            if not any(one.accepts(item) for one in formats):
                shown = SECRET if option is not None and option.secret else show(redact(item, option))
                if len(formats) == 1:
                    yield formats[0].violation(where, shown)
                else:
                    yield Violation(where, f"is neither {' nor '.join(one.article for one in formats)}", formats[0].remedy, shown)


def _check_unique(found: Sequence[tuple[str, object]], option: Option | None) -> Iterator[Violation]:
    if len(found) == 1 and _is_list(found[0][1]) and isinstance(found[0][1], Sequence):
        found = [(f"{found[0][0]}[{position}]", item) for position, item in enumerate(found[0][1])]
    seen: dict[str, str] = {}
    for where, item in found:
        key = json.dumps(item, sort_keys=True, default=str)
        if key in seen:
            shown = SECRET if option is not None and option.secret else show(redact(item, option))
            yield Violation(where, f"is the same as {seen[key]}", "Write each one only once", shown)
        seen.setdefault(key, where)


# --- the fleet ------------------------------------------------------------------------------------------------------------

FLEET_OPTIONS: dict[str, Option] = parse_options(
    {
        "fleet_address": {"required": True, "description": "The address at which the other hosts reach this one."},
        "fleet_admin_networks": {"type": "list", "elements": "str", "description": "Networks from which operators work."},
        "fleet_allow_untested_platform": {"type": "bool", "default": False, "description": "Accept a platform that was never tested."},
        "fleet_domain": {"required": True, "description": "The DNS domain of the fleet."},
        "fleet_environment": {"description": "The name of the environment, such as production."},
        "fleet_name": {"description": "The name of the fleet."},
        "fleet_services": {"type": "dict", "description": "Published by the roles; not to be set."},
    }
)
FLEET_FORMATS: dict[str, str] = {
    "fleet_address": "address",
    "fleet_admin_networks[*]": "network",
    "fleet_domain": "dns_name",
    "fleet_environment": "hostname",
    "fleet_name": "hostname",
}


def check_addresses(addresses: Mapping[str, object]) -> dict[str, list[Violation]]:
    """Violations by host for addresses that several hosts share; spellings of one address count as the same."""
    owner: dict[str, str] = {}
    found: dict[str, list[Violation]] = {}
    for host, address in addresses.items():
        if not is_address(address):
            continue
        key = str(ipaddress.ip_address(str(address)))
        if key in owner:
            violation = Violation(
                "fleet_address", f"is the address of host {owner[key]} too", "Give every host an address of its own", show(address)
            )
            found.setdefault(host, []).append(violation)
        owner.setdefault(key, host)
    return found


TESTED_PLATFORMS: tuple[tuple[str, str], ...] = (("Debian", "12"), ("Debian", "13"))
UNTESTED_PLATFORMS: tuple[tuple[str, str], ...] = (("Ubuntu", "24.04"),)


def check_platform(distribution: str, version: str, allow_untested: bool) -> list[Violation]:
    """Whether this collection supports a platform.

    distribution, version: as in the facts `distribution` and `distribution_version`; the version may be longer (`12.11`).
    """

    def among(platforms: Iterable[tuple[str, str]]) -> bool:
        return any(distribution == name and (version == known or version.startswith(f"{known}.")) for name, known in platforms)

    shown = f"{distribution} {version}"
    tested = " and ".join(" ".join(platform) for platform in TESTED_PLATFORMS)
    if among(TESTED_PLATFORMS) or (allow_untested and among(UNTESTED_PLATFORMS)):
        return []
    if among(UNTESTED_PLATFORMS):
        return [
            Violation(
                "platform", "was never tested with this collection", "Set fleet_allow_untested_platform: true to use it all the same", shown
            )
        ]
    return [Violation("platform", "is not supported", f"Install {tested}, the tested platforms", shown)]
