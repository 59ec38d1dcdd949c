# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The description of a MongoDB replica set: its members, its settings, and what is refused in them. Pure.

Everything that can be judged without a server is judged here, so that a bad description is refused before a connection is made
(and, in a role, on the controller).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

DEFAULT_PORT = 27017
MAX_VOTERS = 7
MAX_MEMBERS = 50
MAX_ID = 255
LOOPBACK = re.compile(r"^(localhost|127(\.\d{1,3}){3}|\[::1\])$")
HOST_NAME = re.compile(r"^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$")
IPV4 = re.compile(r"^\d{1,3}(\.\d{1,3}){3}$")
IPV6 = re.compile(r"^[0-9a-f:.]+$")

# Our name of a member's property -> the server's name in the configuration document.
PROPERTIES = {
    "priority": "priority",
    "votes": "votes",
    "hidden": "hidden",
    "delay": "secondaryDelaySecs",
    "build_indexes": "buildIndexes",
    "arbiter": "arbiterOnly",
    "tags": "tags",
    "horizons": "horizons",
}
ALIASES = {
    "secondary_delay_secs": "delay",
    "secondaryDelaySecs": "delay",
    "slaveDelay": "delay",
    "buildIndexes": "build_indexes",
    "arbiterOnly": "arbiter",
    "arbiter_only": "arbiter",
}
# The server would make a property of these two by itself; on an arbiter they can only be a mistake.
ARBITER_DEFAULTS = {"votes": 1, "hidden": False, "delay": 0, "build_indexes": True, "tags": ()}
SETTINGS = {
    "chaining_allowed": "chainingAllowed",
    "election_timeout_millis": "electionTimeoutMillis",
    "heartbeat_interval_millis": "heartbeatIntervalMillis",
    "heartbeat_timeout_secs": "heartbeatTimeoutSecs",
    "catch_up_timeout_millis": "catchUpTimeoutMillis",
    "catch_up_takeover_delay_millis": "catchUpTakeoverDelayMillis",
}
# The lowest value that the server takes; -1 means "as long as it takes" and "never".
LOWEST = {
    "election_timeout_millis": 1,
    "heartbeat_interval_millis": 1,
    "heartbeat_timeout_secs": 1,
    "catch_up_timeout_millis": -1,
    "catch_up_takeover_delay_millis": -1,
}


def canonical_host(value: str) -> str:
    """Return ``host:port`` in the one way we compare it: lower case, with a port, IPv6 in brackets.

    :raises MongodbError: ``bad_host`` when the value is not a host name or an address with an optional port.
    """
    text = value.strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        valid = bool(bracket and IPV6.match(name)) and (rest == "" or rest.startswith(":"))
        host, port = f"[{name}]", rest[1:] if rest else str(DEFAULT_PORT)
    elif text.count(":") > 1:
        host, port, valid = f"[{text}]", str(DEFAULT_PORT), bool(IPV6.match(text))
    else:
        host, colon, port = text.partition(":")
        port = port if colon else str(DEFAULT_PORT)
        valid = bool(HOST_NAME.match(host))
    if not valid or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise MongodbError("bad_host", f"Member host {value!r} is not a host name or address with an optional port (host:port).")
    return f"{host}:{int(port)}"


@dataclass(frozen=True)
class Member:
    """One member. ``host`` is canonical, ``delay`` is in seconds, ``tags`` and ``horizons`` are sorted pairs.

    ``id`` is None until the member has a place in a configuration. ``renamed_from`` is the canonical host that a described member
    may still have in the configuration. ``other`` holds what the server's document has beside the properties we manage: it is
    carried along unchanged.
    """

    host: str
    priority: float = 1.0
    votes: int = 1
    hidden: bool = False
    delay: int = 0
    build_indexes: bool = True
    arbiter: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    horizons: tuple[tuple[str, str], ...] = ()
    id: int | None = None
    renamed_from: str | None = field(default=None, compare=False)
    other: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    @property
    def electable(self) -> bool:
        """Tell whether the member may become primary."""
        return self.votes == 1 and self.priority > 0

    def properties(self) -> dict[str, Any]:
        """Return the managed properties under our names."""
        return {name: dict(getattr(self, name)) if name in ("tags", "horizons") else getattr(self, name) for name in PROPERTIES}

    def like(self, wanted: Member) -> Member:
        """Return this member with the properties of ``wanted``, keeping ``_id`` and what we do not manage."""
        return dataclasses.replace(wanted, id=self.id, other=self.other)

    def document(self) -> dict[str, Any]:
        """Return the member as it stands in the server's configuration document."""
        if self.id is None:
            raise ValueError(f"{self.host} has no _id yet")
        named = {PROPERTIES[name]: value for name, value in self.properties().items()}
        if not self.horizons:
            # The server refuses an empty mapping.
            del named["horizons"]
        return {"_id": self.id, "host": self.host, **dict(self.other), **named}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Member:
        """Read a member of the server's configuration document."""
        known = {"_id", "host", "slaveDelay", *PROPERTIES.values()}
        arbiter = bool(document.get("arbiterOnly", False))
        return cls(
            host=canonical_host(str(document["host"])),
            # An arbiter is never elected, whatever an old document says about its priority.
            priority=0.0 if arbiter else float(document.get("priority", 1)),
            votes=int(document.get("votes", 1)),
            hidden=bool(document.get("hidden", False)),
            delay=int(document.get("secondaryDelaySecs", document.get("slaveDelay", 0))),
            build_indexes=bool(document.get("buildIndexes", True)),
            arbiter=arbiter,
            tags=tuple(sorted((str(key), str(value)) for key, value in dict(document.get("tags") or {}).items())),
            horizons=tuple(sorted((str(key), canonical_host(str(value))) for key, value in dict(document.get("horizons") or {}).items())),
            id=int(document["_id"]),
            other=tuple((key, value) for key, value in document.items() if key not in known),
        )


@dataclass(frozen=True)
class Desired:
    """The description: name, members in the order given, and only those settings that were named.

    ``write_concern`` is the cluster's default ``w`` (a number, ``majority`` or the name of a mode), None when it is not described.
    """

    name: str
    members: tuple[Member, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    write_concern: str | int | None = None


def parse_desired(
    name: str,
    members: Sequence[Any],
    settings: Mapping[str, Any],
    *,
    write_concern: str | int | None = None,
    arbiter_at_index: int | None = None,
    beyond_seven: str = "refuse",
) -> Desired:
    """Read and check the whole description.

    :param settings: by our names (see ``SETTINGS``); None means "leave it as it is".
    :param write_concern: the default ``w`` of the cluster; None means "leave it as it is".
    :param arbiter_at_index: the place in ``members`` of the one that is an arbiter, from 0.
    :param beyond_seven: ``refuse`` or ``no_vote``: what becomes of a member after the seventh voter that does not say ``votes``.
    :raises MongodbError: ``bad_name``, ``empty_members``, ``duplicate_member``, ``even_voters``, ``too_many_voters``,
        ``too_many_members``, ``too_many_arbiters``, ``no_electable_member``, ``mixed_loopback``, ``bad_horizons``, ``bad_rename``,
        ``bad_setting``, ``bad_write_concern``, ``bad_host`` or ``bad_member``.
    """
    if not re.match(r"^[^/\s,$]+$", name):
        raise MongodbError("bad_name", f"Replica set name {name!r} is empty or has a space, a comma, a slash or a dollar sign in it.")
    if not members:
        raise MongodbError("empty_members", f"Replica set {name}: the list of members is empty.")
    raw_members = list(members)
    if arbiter_at_index is not None:
        raw_members = _with_arbiter(name, raw_members, arbiter_at_index)
    if beyond_seven == "no_vote":
        raw_members = _seven_votes(raw_members)
    parsed = tuple(parse_member(raw) for raw in raw_members)
    _check_set(name, parsed)
    for check in (_check_voters, _check_horizons, _check_renames):
        check(name, parsed)
    return Desired(name=name, members=parsed, settings=_parse_settings(settings), write_concern=_parse_write_concern(write_concern))


def parse_member(raw: Any) -> Member:
    """Read one entry of the ``members`` option: ``host[:port]`` or a mapping with ``host`` and properties.

    Property names are ours or the server's (``secondary_delay_secs``, ``secondaryDelaySecs`` and ``slaveDelay`` are one).

    :raises MongodbError: ``bad_host`` or ``bad_member``.
    """
    if isinstance(raw, str):
        return Member(host=canonical_host(raw))
    if not isinstance(raw, Mapping) or not isinstance(raw.get("host"), str):
        raise MongodbError("bad_member", f"Member {raw!r} is neither 'host:port' nor a mapping with a host.")
    host = canonical_host(raw["host"])
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = ALIASES.get(key, key)
        if name == "host" or value is None:
            continue
        if name not in PROPERTIES and name != "renamed_from":
            raise MongodbError(
                "bad_member", f"Member {host}: {key!r} is not an option. Known: host, renamed_from, {', '.join(PROPERTIES)}."
            )
        if name in values:
            raise MongodbError("bad_member", f"Member {host}: {key!r} is given twice under different names.")
        values[name] = _property(host, name, value)
    if (
        values.get("votes") == 0
        or values.get("hidden")
        or values.get("delay")
        or values.get("build_indexes") is False
        or values.get("arbiter")
    ):
        values.setdefault("priority", 0.0)
    member = Member(host=host, **values)
    _check_member(member)
    return member


def _property(host: str, name: str, value: Any) -> Any:
    """Return one property of a member in its own type; a number that came as text is read, anything else is refused."""
    problem = MongodbError("bad_member", f"Member {host}: {name} = {value!r} is not valid.")
    if name in ("hidden", "build_indexes", "arbiter"):
        return _flag(value, problem)
    if name in ("tags", "horizons"):
        if not isinstance(value, Mapping):
            raise problem
        pairs = tuple(sorted((str(key), str(text)) for key, text in value.items()))
        return pairs if name == "tags" else tuple((key, _horizon(host, key, text)) for key, text in pairs)
    if name == "renamed_from":
        if not isinstance(value, str):
            raise problem
        return canonical_host(value)
    if isinstance(value, bool):
        raise problem
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise problem from error
    if name == "priority" and 0 <= number <= 1000:
        return number
    if name == "votes" and number in (0, 1):
        return int(number)
    if name == "delay" and number >= 0 and number == int(number):
        return int(number)
    raise problem


def _flag(value: Any, problem: MongodbError) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "false", "no"):
        return str(value).lower() in ("true", "yes")
    raise problem


def _horizon(host: str, name: str, value: str) -> str:
    """Return the address of a horizon. It is chosen by the name in the client's TLS greeting, which cannot be an address."""
    if not name or name == "__default":
        raise MongodbError("bad_horizons", f"Member {host}: a horizon cannot be named {name!r}.")
    address = canonical_host(value)
    bare = address.rpartition(":")[0]
    if IPV4.match(bare) or bare.startswith("["):
        raise MongodbError("bad_horizons", f"Member {host}: horizon {name} = {value!r} is an address; the server takes host names only.")
    return address


def _check_member(member: Member) -> None:
    """Refuse what the server would refuse, in words that name the member and the field."""
    if member.arbiter:
        for name, default in {**ARBITER_DEFAULTS, "priority": 0.0}.items():
            if getattr(member, name) != default:
                raise MongodbError(
                    "bad_member",
                    f"Member {member.host} is an arbiter, which votes and holds no data: {name} does not apply to it. Leave {name} out.",
                )
    if member.priority == 0:
        return
    for wrong, why in (
        (member.votes == 0, "has no vote"),
        (member.hidden, "is hidden"),
        (member.delay > 0, "is delayed"),
        (not member.build_indexes, "builds no indexes"),
    ):
        if wrong:
            raise MongodbError("bad_member", f"Member {member.host} {why} and so must have priority 0, not {member.priority:g}.")


def _with_arbiter(name: str, members: list[Any], place: int) -> list[Any]:
    """Make the member at a place an arbiter, as community.mongodb's option of that name does."""
    if not 0 <= place < len(members):
        raise MongodbError(
            "bad_member", f"Replica set {name}: arbiter_at_index = {place} is not a place in a list of {len(members)} members."
        )
    raw = members[place]
    arbiter = {**raw, "arbiter": True} if isinstance(raw, Mapping) else {"host": raw, "arbiter": True}
    return [*members[:place], arbiter, *members[place + 1 :]]


def _seven_votes(members: list[Any]) -> list[Any]:
    """Take the vote of those after the seventh voter that do not ask for one by name. Those that do, and arbiters, come first."""
    votes_named = [isinstance(raw, Mapping) and (raw.get("votes") is not None or bool(parse_member(raw).arbiter)) for raw in members]
    left = MAX_VOTERS - sum(parse_member(raw).votes for raw, named in zip(members, votes_named, strict=True) if named)
    result: list[Any] = []
    for raw, named in zip(members, votes_named, strict=True):
        if not named and left <= 0:
            plain = dict(raw) if isinstance(raw, Mapping) else {"host": raw}
            result.append({**plain, "votes": 0, "priority": 0})
            continue
        left -= 0 if named else 1
        result.append(raw)
    return result


def _check_set(name: str, members: Sequence[Member]) -> None:
    """Refuse a list that names a member twice, is too long, or mixes loopback with names."""
    hosts = [member.host for member in members]
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        raise MongodbError("duplicate_member", f"Replica set {name}: {', '.join(twice)} is listed more than once.")
    if len(members) > MAX_MEMBERS:
        raise MongodbError("too_many_members", f"Replica set {name}: {len(members)} members; a set has at most {MAX_MEMBERS}.")
    loopback = [host for host in hosts if LOOPBACK.match(host.rpartition(":")[0])]
    if loopback and len(loopback) != len(hosts):
        raise MongodbError("mixed_loopback", f"Replica set {name}: {', '.join(loopback)} means another machine on every member; use names.")


def _check_voters(name: str, members: Sequence[Member]) -> None:
    """Refuse a number of voters that a set cannot have, or that brings no safety."""
    voters = [member for member in members if member.votes]
    if len(voters) > MAX_VOTERS:
        surplus = ", ".join(member.host for member in voters[MAX_VOTERS:])
        raise MongodbError(
            "too_many_voters",
            f"Replica set {name}: {len(voters)} voters; at most {MAX_VOTERS} members may vote. Give {surplus} votes: 0, or set "
            "beyond_seven to no_vote.",
        )
    if len(voters) % 2 == 0:
        raise MongodbError(
            "even_voters",
            f"Replica set {name}: {len(voters)} voters ({', '.join(member.host for member in voters) or 'none'}) is an even number. "
            "An even set survives no more failures than the next smaller odd one: add a member or give one votes: 0.",
        )
    arbiters = [member.host for member in members if member.arbiter]
    if len(arbiters) > 1:
        raise MongodbError(
            "too_many_arbiters",
            f"Replica set {name}: {', '.join(arbiters)} are arbiters; the server takes one, because with more a majority may hold no data.",
        )
    if not any(member.electable for member in members):
        raise MongodbError("no_electable_member", f"Replica set {name}: no voter has a priority above 0, so none can become primary.")


def _check_horizons(name: str, members: Sequence[Member]) -> None:
    """Refuse horizons that not all members have, or an address that two share: the server's rules."""
    names = {member.host: {horizon for horizon, _address in member.horizons} for member in members}
    everywhere = set().union(*names.values())
    for host, own in names.items():
        if own != everywhere:
            lacking = ", ".join(sorted(everywhere - own))
            raise MongodbError(
                "bad_horizons", f"Replica set {name}: {host} has no horizon {lacking}, others have; give it to all or to none."
            )
    addresses = [(address, member.host) for member in members for _horizon_name, address in member.horizons]
    addresses += [(member.host, member.host) for member in members if member.horizons]
    for address, host in addresses:
        if [other for other, _host in addresses].count(address) > 1:
            raise MongodbError("bad_horizons", f"Replica set {name}: the horizon address {address} of {host} is used more than once.")


def _check_renames(name: str, members: Sequence[Member]) -> None:
    """Refuse an old name that two members claim, or that another described member has now."""
    hosts = {member.host for member in members}
    claimed = [member.renamed_from for member in members if member.renamed_from is not None]
    for member in members:
        old = member.renamed_from
        if old is not None and (old in hosts or claimed.count(old) > 1):
            raise MongodbError(
                "bad_rename",
                f"Replica set {name}: {member.host} is renamed_from {old}, which is the name of another member of the list. "
                "A name that is to be used again has to be free for one run.",
            )


def _parse_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were given under the server's names."""
    given = {key: value for key, value in settings.items() if value is not None}
    for key, lowest in LOWEST.items():
        if key in given and given[key] < lowest:
            raise MongodbError("bad_setting", f"{key} = {given[key]} is below {lowest}.")
    return {SETTINGS[key]: value for key, value in given.items()}


def _parse_write_concern(value: str | int | None) -> str | int | None:
    """Return the default ``w``; a number that came as text is read."""
    if value is None:
        return None
    text = str(value).strip()
    if not text or text == "0" or text.startswith("-"):
        raise MongodbError(
            "bad_write_concern", f"default_write_concern = {value!r}: write majority, a number of members from 1 up, or the name of a mode."
        )
    return int(text) if text.isascii() and text.isdigit() else text


def picture(
    name: str, members: Iterable[Member] | None, settings: Mapping[str, Any], write_concern: str | int | None = None
) -> dict[str, Any]:
    """Return a set as plain data for a diff, members by host."""
    if members is None:
        return {}
    shown = {
        "replica_set": name,
        "members": {member.host: {"_id": member.id, **member.properties()} for member in sorted(members, key=lambda one: one.host)},
        "settings": {key: settings[key] for key in sorted(settings) if key in SETTINGS.values()},
    }
    return shown if write_concern is None else {**shown, "default_write_concern": write_concern}
