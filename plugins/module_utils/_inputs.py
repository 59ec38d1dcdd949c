# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges the inputs of a role against its argument specification. Pure: no templating, no I/O.

Every finding is a `Violation`, which reads as one sentence: variable, value, problem, remedy. A value of an option that the
specification marks `no_log` is never part of a violation.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.linda.ops.plugins.module_utils._formats import (
    TRUE_WORDS,
    closest,
    format_named,
    is_address,
    is_bool,
    is_float,
    is_int,
    is_list,
)

SECRET = "(secret, not shown)"  # noqa: S105  # what is printed in place of a secret
_SECRET_WORDS = re.compile(r"pass|pwd|secret|token|key|credential|pepper|salt", re.IGNORECASE)
_SHOWN_LENGTH = 80


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
    """A value as it would be written in an inventory, on one line, at most about 80 characters long, without credentials in URLs."""
    text = re.sub(r"://[^/\s\"@]+@", "://********@", json.dumps(value, ensure_ascii=False, default=_plain))
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 4]} ..."


def _plain(value: object) -> str:
    """A value that JSON does not know, as text; one that is still encrypted stays so."""
    return SECRET if type(value).__name__ == "EncryptedString" else str(value)


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


_TYPES: dict[str, tuple[Callable[[object], bool], str, str]] = {
    "str": (lambda value: isinstance(value, str), "text", "Put quotes around it, so that YAML does not read it as something else"),
    "path": (lambda value: isinstance(value, str), "a path", "Write the path as text"),
    "int": (is_int, "a whole number", "Write a whole number without quotes or a unit"),
    "float": (is_float, "a number", "Write a number without quotes or a unit"),
    "bool": (is_bool, "true or false", "Write true or false"),
    "list": (is_list, "a list", 'Write a YAML list (with -e: JSON, as in -e \'{"name": ["value"]}\')'),
    "dict": (lambda value: isinstance(value, Mapping), "a mapping", "Write a YAML mapping (with -e: JSON)"),
    "raw": (lambda value: True, "anything", ""),
    "json": (lambda value: isinstance(value, str | Mapping) or is_list(value), "JSON", "Write JSON"),
    "jsonarg": (lambda value: isinstance(value, str | Mapping) or is_list(value), "JSON", "Write JSON"),
    "bytes": (lambda value: _matches(r"\d+(\.\d+)?\s*[KMGTPEZY]?i?B?", value), "a size in bytes (such as 10M)", "Write a size such as 10M"),
    "bits": (lambda value: _matches(r"\d+(\.\d+)?\s*[KMGTPEZY]?b?", value), "a size in bits (such as 10Mb)", "Write a size such as 10Mb"),
}


def _matches(pattern: str, value: object) -> bool:
    """Whether text (or a number written as text) matches the whole pattern, ignoring case."""
    return isinstance(value, str | int | float) and re.fullmatch(pattern, str(value), re.IGNORECASE | re.ASCII) is not None


def _equal(value: object, choice: object) -> bool:
    """Whether a value means the same as a choice: `-e` turns every value into text."""
    if isinstance(choice, bool):
        return is_bool(value) and (value in (True, 1) or str(value).strip().lower() in TRUE_WORDS) == choice
    return value == choice or (isinstance(value, str) and not isinstance(choice, str) and value.strip() == str(choice))


def redact(value: object, option: Option | None) -> object:
    """The value without the secrets inside it, for showing. Keys that nobody described are judged by their names."""
    if option is not None and option.secret:
        return SECRET
    nested = option.options or {} if option is not None else {}
    if isinstance(value, Mapping):
        return {
            key: redact(item, nested[str(key)]) if str(key) in nested else SECRET if looks_secret(str(key)) else redact(item, None)
            for key, item in value.items()
        }
    if is_list(value) and isinstance(value, Sequence):
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
        elif is_list(value) and isinstance(value, Sequence):
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
    if option.choices and not is_list(value) and not any(_equal(value, choice) for choice in option.choices):
        words = ", ".join(str(choice) for choice in option.choices)
        near = closest(value, [str(choice) for choice in option.choices]) if isinstance(value, str) and not option.secret else None
        yield Violation(path, f"is none of: {words}", f"Did you mean {near}?" if near else "Choose one of these", shown)
    if isinstance(value, Mapping) and option.options is not None:
        yield from _check_mapping(path, value, option)
    elif is_list(value) and isinstance(value, Sequence):
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


def root(path: str) -> str:
    """The input that a path begins with; the path may hold keys that no specification knows."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def select(steps: Sequence[str], value: object, path: str) -> Iterator[tuple[str, object]]:
    """Every (path, value) that the steps lead to; what is not there is left out."""
    if not steps:
        yield path, value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(value, Mapping):
        for key in list(value) if step == "*" else [key for key in value if str(key) == step]:
            yield from select(rest, value[key], f"{path}.{key}")
    elif is_list(value) and isinstance(value, Sequence):
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
                    yield Violation(where, formats[0].complaint, formats[0].remedy, shown)
                else:
                    yield Violation(where, f"is neither {' nor '.join(one.article for one in formats)}", formats[0].remedy, shown)


def _check_unique(found: Sequence[tuple[str, object]], option: Option | None) -> Iterator[Violation]:
    if len(found) == 1 and is_list(found[0][1]) and isinstance(found[0][1], Sequence):
        found = [(f"{found[0][0]}[{position}]", item) for position, item in enumerate(found[0][1])]
    seen: dict[str, str] = {}
    for where, item in found:
        key = json.dumps(item, sort_keys=True, default=str)
        if key in seen:
            shown = SECRET if option is not None and option.secret else show(redact(item, option))
            yield Violation(where, f"is the same as {seen[key]}", "Write each one only once", shown)
        seen.setdefault(key, where)


def mentions(text: object, names: Collection[str], raw: Mapping[str, object]) -> bool:
    """Whether a template (or anything with templates in it) refers to one of these variables, itself or through internal ones.

    raw: the host's variables as they were written; those that begin with `__` are looked into.
    """
    waiting, seen = [text], set()
    while waiting:
        for word in re.findall(r"\w+", json.dumps(waiting.pop(), default=_plain)):
            if word in names:
                return True
            if word.startswith("__") and word in raw and word not in seen:
                seen.add(word)
                waiting.append(raw[word])
    return False


def without_consequences(violations: Sequence[Violation], raw: Mapping[str, object]) -> list[Violation]:
    """The violations that are not merely the consequence of another: of inputs that are computed from a bad one.

    raw: the host's variables as they were written, before rendering.
    """
    broken = {root(one.variable) for one in violations}

    def computed(name: str) -> bool:
        text = raw.get(name)
        return isinstance(text, str) and "{{" in text and mentions(text, broken - {name}, raw)

    causes = [one for one in violations if not computed(root(one.variable))]
    return causes or list(violations)


# --- the fleet ------------------------------------------------------------------------------------------------------------

FLEET_OPTIONS: dict[str, Option] = parse_options(
    {
        "fleet_address": {"required": True, "description": "The address at which the other hosts reach this one."},
        "fleet_admin_networks": {"type": "list", "elements": "str", "description": "Networks from which operators work."},
        "fleet_allow_untested_platform": {"type": "bool", "default": False, "description": "Accept a platform that was never tested."},
        "fleet_domain": {"required": True, "description": "The DNS domain of the fleet."},
        "fleet_environment": {"description": "The name of the environment, such as production."},
        "fleet_name": {"description": "The name of the fleet."},
        "fleet_required_groups": {
            "type": "list",
            "elements": "str",
            "description": "Groups that must have a host; fewer for a part of a fleet.",
        },
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
    tested = " or ".join(" ".join(platform) for platform in TESTED_PLATFORMS)
    if among(TESTED_PLATFORMS) or (allow_untested and among(UNTESTED_PLATFORMS)):
        return []
    if among(UNTESTED_PLATFORMS):
        return [
            Violation(
                "platform", "was never tested with this collection", "Set fleet_allow_untested_platform: true to use it all the same", shown
            )
        ]
    return [Violation("platform", "is not supported", f"Install {tested}", shown)]
