# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way of a MongoDB replica set from what it is to what it should be. Pure: no input, no output, no clock.

The rules come from the server's manual ("Replica Set Reconfiguration", "replSetReconfig") and hold at every prefix of a plan:

- one reconfiguration changes at most one voter, or the name of one member;
- the voters that are up stay a strict majority of all voters, one of them can become primary, and where a majority of writes could
  be acknowledged before a step it can after it (an arbiter votes, and acknowledges nothing);
- a new voter joins with no vote and priority 0, and gets its vote only when it has caught up; an arbiter has nothing to catch up with
  and joins with its vote, after the default write concern was set by name;
- the primary is stepped down before it is removed, renamed or made unelectable, and only when its successor has caught up;
- a member keeps its ``_id`` for life, and the ``_id`` of a removed member is not given to another;
- all members have the same horizons at any time, or none.

:func:`plan` is a fold of :func:`next_step` over :func:`advance`, so that a run that carries out one step, looks at the servers
again and plans again follows the same road as the plan that was shown, and a run that died goes on from where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_spec import (
    LOOPBACK,
    MAX_ID,
    MAX_MEMBERS,
    MAX_VOTERS,
    PROPERTIES,
    SETTINGS,
    Desired,
    Member,
    canonical_host,
    parse_desired,
    picture,
)

# What other parts of the collection take from here.
__all__ = [
    "LOOPBACK",
    "SETTINGS",
    "Desired",
    "Health",
    "Member",
    "Observed",
    "Probe",
    "Step",
    "advance",
    "canonical_host",
    "next_step",
    "parse_desired",
    "picture",
    "plan",
]


@dataclass(frozen=True)
class Health:
    """What a member does now: ``up`` answers and holds data of the set (or votes as an arbiter), ``caught_up`` follows the primary
    closely."""

    up: bool
    caught_up: bool


@dataclass(frozen=True)
class Probe:
    """What a host outside the set answered. ``set_name`` is the set it is in now, None when it is in none; ``me`` is the name that
    it has in that set."""

    reachable: bool
    set_name: str | None = None
    knows_us: bool = False
    me: str | None = None


@dataclass(frozen=True)
class Observed:
    """What the servers say. ``members`` is None when no set exists.

    ``probes`` tells about hosts that are wanted but not in the set; a host without an entry was not asked (check mode on a host
    that an earlier task would start) and is taken as good. ``write_concern`` is the default ``w``, None when it was not asked for;
    ``write_concern_set`` tells whether somebody set it, so that it does not follow the number of arbiters.
    """

    members: tuple[Member, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    primary: str | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)
    name: str | None = None
    highest_id: int = -1
    write_concern: str | int | None = None
    write_concern_set: bool = False


@dataclass(frozen=True)
class Step:
    """One step. ``action`` is initiate, reconfigure, rename, set_default_write_concern, wait_caught_up or step_down.

    ``members`` and ``settings`` are the whole configuration after an initiate, a reconfigure or a rename (of ``host``, its new
    name); ``write_concern`` is the default ``w`` to set; ``level`` is the member that must have every write of the primary before the
    step is done.
    """

    action: str
    reason: str
    host: str | None = None
    members: tuple[Member, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    write_concern: str | int | None = None
    level: str | None = None

    @property
    def writes(self) -> bool:
        """Tell whether the step changes the cluster (a wait does not)."""
        return self.action != "wait_caught_up"

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        return {"action": self.action, "host": self.host, "reason": self.reason}


def plan(desired: Desired, observed: Observed) -> list[Step]:
    """Return the steps from ``observed`` to ``desired``; empty when there is nothing to do.

    :raises MongodbError: ``wrong_set`` (the servers are in a set of another name), ``member_of_other_set``,
        ``member_unreachable``, ``wrong_member`` and ``bad_rename`` (a new name that is not the old member's), ``cannot_change``,
        ``majority_lost`` (no order of steps keeps a majority of the voters up) or ``no_successor`` (the primary has to go and no
        member that is up may take over).
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
    present = {member.host for member in observed.members or ()}
    for goal in desired.members:
        known = observed.probes[goal.host].me if goal.host in observed.probes else None
        if known in present and goal.renamed_from != known:
            raise MongodbError(
                "wrong_member", f"{goal.host} is the member {known} under another name: write renamed_from: {known} to rename it."
            )
        if goal.renamed_from is not None and {goal.host, goal.renamed_from} <= present:
            raise MongodbError(
                "bad_rename", f"{goal.host} is renamed_from {goal.renamed_from}, but both are members of the set: remove one of them first."
            )
    for old, goal in _renames(desired, observed):
        me = observed.probes[goal.host].me if goal.host in observed.probes else None
        if me not in (None, old):
            raise MongodbError("wrong_member", f"{goal.host} is renamed_from {old}, but the server that answers there is {me}.")
    wanted = {member.host: member for member in _for_now(desired, observed).members}
    for member in observed.members or ():
        goal_now = wanted.get(member.host)
        for name in ("build_indexes", "arbiter"):
            if goal_now is not None and getattr(goal_now, name) != getattr(member, name):
                raise MongodbError("cannot_change", f"{member.host}: {name} cannot be changed; remove the member and add it again.")


def next_step(desired: Desired, state: Observed) -> Step | None:
    """Return the one step to do now, None when the set is as described."""
    if state.members is None:
        members = tuple(dataclasses.replace(member, id=index) for index, member in enumerate(desired.members))
        return Step(
            "initiate", f"no replica set yet: start {desired.name} with {len(members)} members", members=members, settings=desired.settings
        )
    now = _for_now(desired, state)
    step = (
        _default_write_concern(now, state)
        or _attributes(now, state)
        or _rename(desired, now, state)
        or _leave_without_vote(now, state)
        or _voters(now, state)
        or _join_without_vote(now, state)
        or _retire_primary(now, state)
    )
    if step is None:
        _refuse_unsafe_rename(desired, state)
    return step


def _renames(desired: Desired, state: Observed) -> list[tuple[str, Member]]:
    """Return the members that still have their old name, as (old name, described member)."""
    present = {member.host for member in state.members or ()}
    return [
        (member.renamed_from, member)
        for member in desired.members
        if member.renamed_from is not None and member.renamed_from in present and member.host not in present
    ]


def _for_now(desired: Desired, state: Observed) -> Desired:
    """Return the description as it holds in the present configuration: under old names, and with horizons that all can have.

    Every member has the same horizons, and no address is used twice. So horizons that come, go or pass from one machine to another
    while machines come and go are left out of all members until everybody is there.
    """
    old_names = {goal.host: old for old, goal in _renames(desired, state)}
    members = tuple(dataclasses.replace(member, host=old_names.get(member.host, member.host)) for member in desired.members)
    present = state.members or ()
    wanted = {member.host for member in members}
    if not old_names and {member.host for member in present} == wanted:
        return desired
    leaving = [member for member in present if member.host not in wanted]
    staying = {address for member in leaving for _name, address in member.horizons}
    coming = {address for member in members for _name, address in member.horizons}
    clash = coming & (staying | {member.host for member in present}) or staying & {member.host for member in desired.members}
    if clash or {name for member in present for name, _address in member.horizons} != {
        name for member in members for name, _address in member.horizons
    }:
        members = tuple(dataclasses.replace(member, horizons=()) for member in members)
    return dataclasses.replace(desired, members=members)


def _default_write_concern(desired: Desired, state: Observed) -> Step | None:
    """The default write concern that is described; and one by name before the voters of a set with an arbiter change.

    The default that nobody set follows the number of arbiters, and the server refuses a reconfiguration that would change it.
    """
    if state.write_concern is None:
        return None
    goal = desired.write_concern
    if goal is None and not state.write_concern_set:
        before = {(member.host, member.arbiter) for member in state.members or () if member.votes}
        after = {(member.host, member.arbiter) for member in desired.members if member.votes}
        if before != after and any(arbiter for _host, arbiter in before | after):
            goal = "majority"
    if goal is None or (state.write_concern_set and goal == state.write_concern):
        return None
    return Step("set_default_write_concern", f"set the default write concern to w: {goal}", write_concern=goal)


def _rename(desired: Desired, now: Desired, state: Observed) -> Step | None:
    """Give one member its new name, those that are down first and the primary last; None while it would be unsafe."""
    pending = _renames(desired, state)
    others = sorted((one for one in pending if one[0] != state.primary), key=lambda one: _up(state, one[0]))
    for old, goal in others:
        if _may_pause(state, old):
            return _renamed(state, old, goal.host)
    if others or not pending:
        return None
    old, goal = pending[0]
    if not any(member.electable and member.host != old for member in state.members or ()):
        return _renamed(state, old, goal.host)
    return _step_down(now, state, old) if _successors(now, state, old) and _may_pause(state, old) else None


def _renamed(state: Observed, old: str, new: str) -> Step:
    members = tuple(dataclasses.replace(member, host=new) if member.host == old else member for member in state.members or ())
    return Step("rename", f"rename {old} to {new}", host=new, members=members, settings=state.settings)


def _may_pause(state: Observed, host: str) -> bool:
    """Tell whether the set keeps its majority while the others look for a member under its new name."""
    voters = [member.host for member in state.members or () if member.votes]
    if host not in voters or not _up(state, host):
        return True
    return 2 * sum(_up(state, other) for other in voters if other != host) > len(voters)


def _refuse_unsafe_rename(desired: Desired, state: Observed) -> None:
    """Say why a name was not changed, when nothing else is left to do."""
    for old, goal in _renames(desired, state):
        down = sorted(member.host for member in state.members or () if member.votes and not _up(state, member.host))
        raise MongodbError(
            "majority_lost",
            f"{old} cannot be renamed to {goal.host} while {', '.join(down) or 'a voter'} is down, because the others alone are no "
            "majority. Bring it back first.",
        )


def _attributes(desired: Desired, state: Observed) -> Step | None:
    """Properties and settings that move no vote, all in one reconfiguration; the primary stays electable for now."""
    wanted = {member.host: member for member in desired.members}
    horizons = any(member.horizons for member in desired.members)
    changed: list[str] = []
    members: list[Member] = []
    for member in state.members or ():
        goal = wanted.get(member.host)
        if goal is None:
            new = member if horizons else dataclasses.replace(member, horizons=())
        elif goal.votes != member.votes or (member.host == state.primary and not goal.electable):
            new = dataclasses.replace(member, horizons=goal.horizons)
        else:
            new = member.like(goal)
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
    coming.sort(key=lambda goal: goal.arbiter)
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
        step = _step_down(desired, state, primary.host)
        # It hands over only if it can go then.
        if _drop(state, wanted, primary) is not None:
            return step
    down = sorted(member.host for member in voters if not _up(state, member.host))
    moving = f"{', '.join(member.host for member in leaving)} cannot go" if leaving else f"{coming[0].host} cannot join"
    raise MongodbError(
        "majority_lost",
        f"Nothing was changed further: {moving} while {', '.join(down) or 'a voter'} is "
        "down, because the members that are up would no longer be a majority. Bring it back first.",
    )


def _bring_in(state: Observed, coming: Sequence[Member], voters: int) -> Step | None:
    """Add a future voter without a vote, wait for it, or give it its vote; one at a time, a begun one first, an arbiter last."""
    current = {member.host: member for member in state.members or ()}
    begun = [goal for goal in coming if goal.host in current]
    if not begun:
        if not coming:
            return None
        goal = coming[0]
        if goal.arbiter:
            return _add_arbiter(state, goal)
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
        "reconfigure",
        f"give {goal.host} its vote and priority {goal.priority:g}",
        host=goal.host,
        members=members,
        settings=state.settings,
        level=None if goal.delay else goal.host,
    )


def _add_arbiter(state: Observed, goal: Member) -> Step | None:
    """Add an arbiter with its vote, if those that are up stay a majority until it is up. A set has one arbiter at a time."""
    present = state.members or ()
    members = (*present, dataclasses.replace(goal, id=_free_id(state)))
    full = any(member.arbiter for member in present) or sum(member.votes for member in members) > MAX_VOTERS
    if full or _strength(state, members) < max(1, _strength(state, present)):
        return None
    return Step("reconfigure", f"add {goal.host} as arbiter", host=goal.host, members=members, settings=state.settings)


def _strength(state: Observed, members: Iterable[Member]) -> int:
    """Return 2 when the members that are up can elect and acknowledge a write of the majority, 1 when they can only elect, else 0.

    The server's write majority is that of the voters, but never more than the voters that hold data.
    """
    voters = [member for member in members if member.votes]
    data = [member for member in voters if not member.arbiter]
    majority = len(voters) // 2 + 1
    if sum(_up(state, member.host) for member in voters) < majority:
        return 0
    return 2 if sum(_up(state, member.host) for member in data) >= min(majority, len(data)) else 1


def _drop(state: Observed, wanted: Mapping[str, Member], leaver: Member) -> Step | None:
    """Take one voter (not the primary) out, or its vote away, if the rest that is up stays a majority."""
    rest = [member for member in state.members or () if member.votes and member.host != leaver.host]
    weaker = _strength(state, rest) < max(1, _strength(state, state.members or ()))
    if weaker or not any(member.electable and _up(state, member.host) for member in rest):
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


def _successors(desired: Desired, state: Observed, primary: str) -> list[Member]:
    """Return the members that are up, stay, and may lead instead of the primary."""
    lasting = {member.host for member in desired.members if member.electable}
    return [
        member
        for member in state.members or ()
        if member.host != primary and member.electable and member.host in lasting and _up(state, member.host)
    ]


def _step_down(desired: Desired, state: Observed, primary: str) -> Step:
    """Hand over to the electable member that stays, highest priority first, once it has caught up."""
    able = _successors(desired, state, primary)
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
    return Step("step_down", f"{primary} hands over as primary, {best.host} has caught up", host=primary, level=best.host)


def advance(state: Observed, step: Step) -> Observed:
    """Return what the servers will say after a step went well. After a step-down the best electable member leads."""
    health = dict(state.health)
    if step.action == "set_default_write_concern":
        return dataclasses.replace(state, write_concern=step.write_concern, write_concern_set=True)
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
        # Who was renamed answers under the new name; who is new holds nothing yet.
        old = {member.id: member.host for member in state.members or ()}
        primary = next((member.host for member in step.members if state.primary and old.get(member.id) == state.primary), "")
        for member in step.members:
            health.setdefault(member.host, Health(up=True, caught_up=step.action == "rename"))
    ids = [member.id for member in step.members if member.id is not None]
    return dataclasses.replace(
        state,
        members=step.members,
        settings=dict(step.settings),
        health=health,
        primary=primary or None,
        highest_id=max([state.highest_id, *ids]),
    )


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
