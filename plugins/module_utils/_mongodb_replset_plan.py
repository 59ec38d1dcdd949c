# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way of a MongoDB replica set from what it is to what it should be. Pure: no input, no output, no clock.

The rules come from the server's manual ("Replica Set Reconfiguration", "replSetReconfig") and hold at every prefix of a plan:

- one reconfiguration changes at most one voter;
- the voters that are up stay a strict majority of all voters, and one of them can become primary;
- a new voter joins with no vote and priority 0, and gets its vote only when it has caught up;
- the primary is stepped down before it is removed or made unelectable, and only when its successor has caught up;
- a member keeps its ``_id`` for life, and the ``_id`` of a removed member is not given to another.

:func:`plan` is a fold of :func:`next_step` over :func:`advance`, so that a run that carries out one step, looks at the servers
again and plans again follows the same road as the plan that was shown, and a run that died goes on from where it stopped.
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
IPV6 = re.compile(r"^[0-9a-f:.]+$")

# Our name of a member's property -> the server's name in the configuration document.
PROPERTIES = {
    "priority": "priority",
    "votes": "votes",
    "hidden": "hidden",
    "delay": "secondaryDelaySecs",
    "build_indexes": "buildIndexes",
    "tags": "tags",
}
SETTINGS = {
    "chaining_allowed": "chainingAllowed",
    "election_timeout_millis": "electionTimeoutMillis",
    "heartbeat_interval_millis": "heartbeatIntervalMillis",
    "heartbeat_timeout_secs": "heartbeatTimeoutSecs",
    "catch_up_timeout_millis": "catchUpTimeoutMillis",
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
    """One member. ``host`` is canonical, ``delay`` is in seconds, ``tags`` are sorted pairs.

    ``id`` is None until the member has a place in a configuration. ``other`` holds what the server's document has beside the
    properties we manage (horizons, for one): it is carried along unchanged.
    """

    host: str
    priority: float = 1.0
    votes: int = 1
    hidden: bool = False
    delay: int = 0
    build_indexes: bool = True
    tags: tuple[tuple[str, str], ...] = ()
    id: int | None = None
    other: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    @property
    def electable(self) -> bool:
        """Tell whether the member may become primary."""
        return self.votes == 1 and self.priority > 0

    def properties(self) -> dict[str, Any]:
        """Return the managed properties under our names."""
        return {name: dict(self.tags) if name == "tags" else getattr(self, name) for name in PROPERTIES}

    def like(self, wanted: Member) -> Member:
        """Return this member with the properties of ``wanted``, keeping ``_id`` and what we do not manage."""
        return dataclasses.replace(wanted, id=self.id, other=self.other)

    def document(self) -> dict[str, Any]:
        """Return the member as it stands in the server's configuration document."""
        if self.id is None:
            raise ValueError(f"{self.host} has no _id yet")
        named = {PROPERTIES[name]: value for name, value in self.properties().items()}
        return {"_id": self.id, "host": self.host, **dict(self.other), **named}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Member:
        """Read a member of the server's configuration document."""
        known = {"_id", "host", "slaveDelay", *PROPERTIES.values()}
        return cls(
            host=canonical_host(str(document["host"])),
            priority=float(document.get("priority", 1)),
            votes=int(document.get("votes", 1)),
            hidden=bool(document.get("hidden", False)),
            delay=int(document.get("secondaryDelaySecs", document.get("slaveDelay", 0))),
            build_indexes=bool(document.get("buildIndexes", True)),
            tags=tuple(sorted((str(key), str(value)) for key, value in dict(document.get("tags") or {}).items())),
            id=int(document["_id"]),
            other=tuple((key, value) for key, value in document.items() if key not in known),
        )


@dataclass(frozen=True)
class Health:
    """What a member does now: ``up`` answers and holds data of the set, ``caught_up`` follows the primary closely."""

    up: bool
    caught_up: bool


@dataclass(frozen=True)
class Probe:
    """What a host outside the set answered. ``set_name`` is the set it is in now, None when it is in none."""

    reachable: bool
    set_name: str | None = None
    knows_us: bool = False


@dataclass(frozen=True)
class Desired:
    """The description: name, members in the order given, and only those settings that were named."""

    name: str
    members: tuple[Member, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What the servers say. ``members`` is None when no set exists.

    ``probes`` tells about hosts that are wanted but not in the set; a host without an entry was not asked (check mode on a host
    that an earlier task would start) and is taken as good.
    """

    members: tuple[Member, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    primary: str | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)
    name: str | None = None
    highest_id: int = -1


@dataclass(frozen=True)
class Step:
    """One step. ``action`` is initiate, reconfigure, wait_caught_up or step_down; ``members`` and ``settings`` are the whole
    configuration after an initiate or reconfigure."""

    action: str
    reason: str
    host: str | None = None
    members: tuple[Member, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Tell whether the step changes the cluster (a wait does not)."""
        return self.action != "wait_caught_up"

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        return {"action": self.action, "host": self.host, "reason": self.reason}


# ---------------------------------------------------------------------------------------------------------------- the description


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
    aliases = {"secondary_delay_secs": "delay", "secondaryDelaySecs": "delay", "slaveDelay": "delay", "buildIndexes": "build_indexes"}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = aliases.get(key, key)
        if name == "host" or value is None:
            continue
        if name in ("arbiterOnly", "arbiter") and value is False:
            continue
        if name not in PROPERTIES:
            raise MongodbError("bad_member", f"Member {host}: {key!r} is not an option. Known: host, {', '.join(PROPERTIES)}.")
        if name in values:
            raise MongodbError("bad_member", f"Member {host}: {key!r} is given twice under different names.")
        values[name] = _property(host, name, value)
    if values.get("votes") == 0 or values.get("hidden") or values.get("delay") or values.get("build_indexes") is False:
        values.setdefault("priority", 0.0)
    member = Member(host=host, **values)
    _check_member(member)
    return member


def _property(host: str, name: str, value: Any) -> Any:
    """Return one property of a member in its own type; a number that came as text is read, anything else is refused."""
    problem = MongodbError("bad_member", f"Member {host}: {name} = {value!r} is not valid.")
    if name in ("hidden", "build_indexes"):
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "false", "no"):
            return str(value).lower() in ("true", "yes")
        raise problem
    if name == "tags":
        if not isinstance(value, Mapping):
            raise problem
        return tuple(sorted((str(key), str(text)) for key, text in value.items()))
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


def _check_member(member: Member) -> None:
    """Refuse what the server would refuse, in words that name the member and the field."""
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


def parse_desired(name: str, members: Sequence[Any], settings: Mapping[str, Any]) -> Desired:
    """Read and check the whole description.

    :param settings: by our names (see ``SETTINGS``); None means "leave it as it is".
    :raises MongodbError: ``bad_name``, ``empty_members``, ``duplicate_member``, ``even_voters``, ``too_many_voters``,
        ``too_many_members``, ``no_electable_member``, ``mixed_loopback``, ``bad_host`` or ``bad_member``.
    """
    if not re.match(r"^[^/\s,$]+$", name):
        raise MongodbError("bad_name", f"Replica set name {name!r} is empty or has a space, a comma, a slash or a dollar sign in it.")
    if not members:
        raise MongodbError("empty_members", f"Replica set {name}: the list of members is empty.")
    parsed = tuple(parse_member(raw) for raw in members)
    hosts = [member.host for member in parsed]
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        raise MongodbError("duplicate_member", f"Replica set {name}: {', '.join(twice)} is listed more than once.")
    if len(parsed) > MAX_MEMBERS:
        raise MongodbError("too_many_members", f"Replica set {name}: {len(parsed)} members; a set has at most {MAX_MEMBERS}.")
    voters = [member for member in parsed if member.votes]
    if len(voters) > MAX_VOTERS:
        raise MongodbError(
            "too_many_voters", f"Replica set {name}: {len(voters)} voters; at most {MAX_VOTERS} members may vote (votes: 0)."
        )
    if len(voters) % 2 == 0:
        raise MongodbError(
            "even_voters",
            f"Replica set {name}: {len(voters)} voters ({', '.join(member.host for member in voters) or 'none'}) is an even number. "
            "An even set survives no more failures than the next smaller odd one: add a member or give one votes: 0.",
        )
    if not any(member.electable for member in parsed):
        raise MongodbError("no_electable_member", f"Replica set {name}: no voter has a priority above 0, so none can become primary.")
    loopback = [host for host in hosts if LOOPBACK.match(host.rpartition(":")[0])]
    if loopback and len(loopback) != len(hosts):
        raise MongodbError("mixed_loopback", f"Replica set {name}: {', '.join(loopback)} means another machine on every member; use names.")
    given = {SETTINGS[key]: value for key, value in settings.items() if value is not None}
    return Desired(name=name, members=parsed, settings=given)


# ----------------------------------------------------------------------------------------------------------------------- the plan


def plan(desired: Desired, observed: Observed) -> list[Step]:
    """Return the steps from ``observed`` to ``desired``; empty when there is nothing to do.

    :raises MongodbError: ``wrong_set`` (the servers are in a set of another name), ``member_of_other_set``,
        ``member_unreachable``, ``arbiter_unsupported``, ``cannot_change``, ``majority_lost`` (no order of steps keeps a
        majority of the voters up) or ``no_successor`` (the primary has to go and no member that is up may take over).
    """
    _refuse(desired, observed)
    steps: list[Step] = []
    state = observed
    while (step := next_step(desired, state)) is not None:
        steps.append(step)
        state = advance(state, step)
        if len(steps) > 8 * MAX_MEMBERS:
            raise MongodbError("internal", "The plan does not come to an end; this is a bug.")
    return steps


def _refuse(desired: Desired, observed: Observed) -> None:
    """Refuse what no order of steps can make right."""
    if observed.name is not None and observed.name != desired.name:
        raise MongodbError(
            "wrong_set", f"The server belongs to replica set {observed.name!r}, not {desired.name!r}. A set is never renamed."
        )
    for host, probe in sorted(observed.probes.items()):
        if probe.set_name is not None and not probe.knows_us:
            raise MongodbError(
                "member_of_other_set", f"{host} already belongs to a replica set ({probe.set_name!r}): take it out there first."
            )
        if not probe.reachable:
            raise MongodbError(
                "member_unreachable", f"{host} is to join the set and does not answer. Start it, or check name, port and TLS."
            )
    wanted = {member.host: member for member in desired.members}
    for member in observed.members or ():
        goal = wanted.get(member.host)
        if goal is not None and goal.build_indexes != member.build_indexes:
            raise MongodbError("cannot_change", f"{member.host}: build_indexes cannot be changed; remove the member and add it again.")
        if dict(member.other).get("arbiterOnly"):
            raise MongodbError("arbiter_unsupported", f"{member.host} is an arbiter; this version does not manage sets with arbiters.")


def next_step(desired: Desired, state: Observed) -> Step | None:
    """Return the one step to do now, None when the set is as described."""
    if state.members is None:
        members = tuple(dataclasses.replace(member, id=index) for index, member in enumerate(desired.members))
        return Step(
            "initiate", f"no replica set yet: start {desired.name} with {len(members)} members", members=members, settings=desired.settings
        )
    return (
        _attributes(desired, state)
        or _leave_without_vote(desired, state)
        or _voters(desired, state)
        or _join_without_vote(desired, state)
        or _retire_primary(desired, state)
    )


def _attributes(desired: Desired, state: Observed) -> Step | None:
    """Properties and settings that move no vote, all in one reconfiguration; the primary stays electable for now."""
    wanted = {member.host: member for member in desired.members}
    changed: list[str] = []
    members: list[Member] = []
    for member in state.members or ():
        goal = wanted.get(member.host)
        keep = goal is None or goal.votes != member.votes or (member.host == state.primary and not goal.electable)
        new = member if goal is None or keep else member.like(goal)
        if new != member:
            changed.append(f"{member.host} ({', '.join(_differences(member, new))})")
        members.append(new)
    settings = {**state.settings, **desired.settings}
    changed += [key for key, value in desired.settings.items() if state.settings.get(key) != value]
    if not changed:
        return None
    return Step("reconfigure", f"change {', '.join(changed)}", members=tuple(members), settings=settings)


def _leave_without_vote(desired: Desired, state: Observed) -> Step | None:
    """Members without a vote that are no longer wanted go together: no majority changes."""
    wanted = {member.host for member in desired.members}
    leaving = [member.host for member in state.members or () if member.host not in wanted and not member.votes]
    if not leaving:
        return None
    rest = tuple(member for member in state.members or () if member.host not in leaving)
    return Step("reconfigure", f"remove {', '.join(leaving)} (no vote)", members=rest, settings=state.settings)


def _voters(desired: Desired, state: Observed) -> Step | None:
    """One change of one voter: whichever comes first in the safe order.

    With an odd number of voters a new one is brought in first, with an even number one that leaves goes first, so the set stays
    near its size; a primary that leaves goes last.
    """
    wanted = {member.host: member for member in desired.members}
    current = {member.host: member for member in state.members or ()}
    voters = [member for member in current.values() if member.votes]
    leaving = [member for member in voters if member.host not in wanted or not wanted[member.host].votes]
    leaving.sort(key=lambda member: _up(state, member.host))
    others = [member for member in leaving if member.host != state.primary]
    coming = [goal for goal in desired.members if goal.votes and (goal.host not in current or not current[goal.host].votes)]
    if not leaving and not coming:
        return None
    bring = _bring_in(state, coming, len(voters))
    drop = next((step for member in others if (step := _drop(state, wanted, member)) is not None), None)
    if bring is not None and (len(voters) % 2 or drop is None):
        return bring
    if drop is not None:
        return drop
    primary = next((member for member in leaving if member.host == state.primary), None)
    if primary is not None:
        return _step_down(desired, state, primary.host)
    down = sorted(member.host for member in voters if not _up(state, member.host))
    raise MongodbError(
        "majority_lost",
        f"Nothing was changed further: {', '.join(member.host for member in leaving)} cannot go while {', '.join(down) or 'a voter'} is "
        "down, because the members that are up would no longer be a majority. Bring it back first.",
    )


def _bring_in(state: Observed, coming: Sequence[Member], voters: int) -> Step | None:
    """Add a future voter without a vote, wait for it, or give it its vote; one at a time, a begun one first."""
    current = {member.host: member for member in state.members or ()}
    begun = [goal for goal in coming if goal.host in current]
    if not begun:
        if not coming:
            return None
        goal = coming[0]
        newcomer = dataclasses.replace(goal, id=_free_id(state), votes=0, priority=0.0)
        return Step(
            "reconfigure",
            f"add {goal.host} without a vote",
            host=goal.host,
            members=(*(state.members or ()), newcomer),
            settings=state.settings,
        )
    goal = begun[0]
    if not _caught_up(state, goal.host):
        return Step("wait_caught_up", f"wait until {goal.host} has caught up", host=goal.host)
    if voters >= MAX_VOTERS:
        return None
    members = tuple(member.like(goal) if member.host == goal.host else member for member in state.members or ())
    return Step(
        "reconfigure", f"give {goal.host} its vote and priority {goal.priority:g}", host=goal.host, members=members, settings=state.settings
    )


def _drop(state: Observed, wanted: Mapping[str, Member], leaver: Member) -> Step | None:
    """Take one voter (not the primary) out, or its vote away, if the rest that is up stays a majority."""
    rest = [member for member in state.members or () if member.votes and member.host != leaver.host]
    up = [member for member in rest if _up(state, member.host)]
    if 2 * len(up) <= len(rest) or not any(member.electable for member in up):
        return None
    goal = wanted.get(leaver.host)
    if goal is None:
        members = tuple(member for member in state.members or () if member.host != leaver.host)
        return Step("reconfigure", f"remove {leaver.host}", host=leaver.host, members=members, settings=state.settings)
    members = tuple(member.like(goal) if member.host == leaver.host else member for member in state.members or ())
    return Step("reconfigure", f"take the vote of {leaver.host}", host=leaver.host, members=members, settings=state.settings)


def _join_without_vote(desired: Desired, state: Observed) -> Step | None:
    """Wanted members that never vote join with all their properties, one at a time."""
    current = {member.host for member in state.members or ()}
    goal = next((member for member in desired.members if member.host not in current), None)
    if goal is None:
        return None
    members = (*(state.members or ()), dataclasses.replace(goal, id=_free_id(state)))
    return Step("reconfigure", f"add {goal.host} (no vote)", host=goal.host, members=members, settings=state.settings)


def _retire_primary(desired: Desired, state: Observed) -> Step | None:
    """A primary that keeps its vote but is to have priority 0 hands over first; the properties follow in the next step."""
    goal = next((member for member in desired.members if member.host == state.primary), None)
    if goal is None or goal.electable:
        return None
    return _step_down(desired, state, goal.host)


def _step_down(desired: Desired, state: Observed, primary: str) -> Step:
    """Hand over to the electable member that stays, highest priority first, once it has caught up."""
    wanted = {member.host: member for member in desired.members}
    able = [
        member
        for member in state.members or ()
        if member.host != primary
        and member.electable
        and _up(state, member.host)
        and member.host in wanted
        and wanted[member.host].electable
    ]
    rest = [member for member in state.members or () if member.votes and member.host != primary]
    if not able:
        raise MongodbError("no_successor", f"{primary} is primary and has to go, and no member that stays is up and may become primary.")
    if 2 * sum(_up(state, member.host) for member in rest) <= len(rest):
        raise MongodbError(
            "majority_lost", f"{primary} cannot go: without it the members that are up are no majority. Bring the others back first."
        )
    best = max(able, key=lambda member: (member.priority, _caught_up(state, member.host)))
    if not _caught_up(state, best.host):
        return Step("wait_caught_up", f"wait until {best.host} has caught up", host=best.host)
    return Step("step_down", f"{primary} hands over as primary, {best.host} has caught up", host=primary)


def advance(state: Observed, step: Step) -> Observed:
    """Return what the servers will say after a step went well. After a step-down the best electable member leads."""
    health = dict(state.health)
    if step.action == "wait_caught_up" and step.host is not None:
        health[step.host] = Health(up=True, caught_up=True)
        return dataclasses.replace(state, health=health)
    if step.action == "step_down":
        able = [member for member in state.members or () if member.host != step.host and member.electable and _up(state, member.host)]
        best = max(able, key=lambda member: (member.priority, _caught_up(state, member.host)))
        return dataclasses.replace(state, primary=best.host)
    if step.action == "initiate":
        health = {member.host: Health(up=True, caught_up=True) for member in step.members}
        primary = max((member for member in step.members if member.electable), key=lambda member: member.priority).host
    else:
        primary = state.primary or ""
        for member in step.members:
            health.setdefault(member.host, Health(up=True, caught_up=False))
    ids = [member.id for member in step.members if member.id is not None]
    return dataclasses.replace(
        state,
        members=step.members,
        settings=dict(step.settings),
        health=health,
        primary=primary or None,
        highest_id=max([state.highest_id, *ids]),
    )


def picture(name: str, members: Iterable[Member] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a set as plain data for a diff, members by host."""
    if members is None:
        return {}
    return {
        "replica_set": name,
        "members": {member.host: {"_id": member.id, **member.properties()} for member in sorted(members, key=lambda one: one.host)},
        "settings": {key: settings[key] for key in sorted(settings) if key in SETTINGS.values()},
    }


def _differences(old: Member, new: Member) -> list[str]:
    before, after = old.properties(), new.properties()
    return [f"{name} {before[name]!r} -> {after[name]!r}" for name in PROPERTIES if before[name] != after[name]]


def _free_id(state: Observed) -> int:
    """Return an ``_id`` above all that are known; when the range is used up, the lowest that no member has."""
    used = {member.id for member in state.members or ()}
    highest = max([state.highest_id, *(number for number in used if number is not None)])
    return highest + 1 if highest < MAX_ID else next(number for number in range(MAX_ID + 1) if number not in used)


def _up(state: Observed, host: str) -> bool:
    health = state.health.get(host)
    return health is not None and health.up


def _caught_up(state: Observed, host: str) -> bool:
    health = state.health.get(host)
    return health is not None and health.up and health.caught_up
