# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan in which order the members of a replica set are taken out of service, and when one may go. Pure: no input, no output, no clock.

One engine serves restart, configuration, certificates, key file, patch and major upgrade: they differ in what is changed on a member
while it is out, and in how it is seen that the change has arrived (:class:`Target`). The rules hold at every prefix of a plan:

- a member that does not run comes first (it can only get better), then the secondaries, those that matter least before others, and the
  primary last, after it has stepped down;
- a member goes only while all others are up, follow the primary closely and have an oplog that outlasts its absence, while no index
  is being built, and while a majority of the voters with one that can become primary stays without it (the server's manual, "Perform
  Maintenance on Replica Set Members" and "Upgrade a Replica Set");
- a member that already shows the target is left alone, so a run that died goes on from what the servers say, and from nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

# The server's release series in their order; an upgrade goes from one to the next.
SERIES = ("4.4", "5.0", "6.0", "7.0", "8.0")
# TLS first and then membership by certificate; each change goes one rung up, so that any two neighbours understand each other.
# The server refuses certificates for membership before members prefer TLS among themselves.
SECURITY_LADDER: tuple[tuple[str, str], ...] = (
    ("disabled", "keyFile"),
    ("allowTLS", "keyFile"),
    ("preferTLS", "keyFile"),
    ("requireTLS", "keyFile"),
    ("requireTLS", "sendKeyFile"),
    ("requireTLS", "sendX509"),
    ("requireTLS", "x509"),
)
UP = frozenset({"PRIMARY", "SECONDARY", "ARBITER"})


@dataclass(frozen=True)
class Member:
    """What is known of one member.

    ``state`` is the server's word (``PRIMARY``, ``SECONDARY``, ``(not reachable/healthy)``). ``lag`` is in seconds behind the newest
    write, without a delay that is wanted. ``started`` is in seconds since 1970 by the member's own clock, ``changed`` the time of the
    last change to what it would start with, if somebody looked. ``oplog_hours`` is None while the oplog has never been full, when it
    still holds everything. ``building`` names the collections whose indexes are being built. ``security`` is (TLS mode, membership).
    ``source`` is the member that it copies from, empty for none.
    """

    host: str
    state: str
    voter: bool = True
    priority: float = 1.0
    lag: float = 0.0
    version: str | None = None
    started: float | None = None
    changed: float | None = None
    due: bool = False
    oplog_hours: float | None = None
    building: tuple[str, ...] = ()
    security: tuple[str, str] | None = None
    source: str = ""

    @property
    def up(self) -> bool:
        """Tell whether the member does its work."""
        return self.state in UP

    @property
    def electable(self) -> bool:
        """Tell whether the member may become primary."""
        return self.voter and self.priority > 0 and self.state != "ARBITER"

    def describe(self) -> dict[str, Any]:
        """Return the member for a person and for a program."""
        return dataclasses.asdict(self) | {"building": list(self.building), "security": list(self.security or ())}


@dataclass(frozen=True)
class Target:
    """How a member looks that needs nothing more; what is None does not count. ``started_after`` is in seconds since 1970."""

    version: str | None = None
    started_after: float | None = None
    security: tuple[str, str] | None = None


@dataclass(frozen=True)
class Limits:
    """When the others are well enough: seconds that a member may be behind, hours that an oplog must reach back."""

    max_lag: float = 10.0
    min_oplog_hours: float = 1.0


@dataclass(frozen=True)
class Problem:
    """Why a member may not go now. ``lasting`` is what no waiting would change."""

    code: str
    message: str
    lasting: bool = False


@dataclass(frozen=True)
class Step:
    """One step: ``step_down``, ``roll`` (stop, change, start, wait until it is back) or ``sync_from`` (copy from ``source``)."""

    action: str
    host: str
    reason: str
    source: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        return {"action": self.action, "host": self.host, "reason": self.reason} | ({"source": self.source} if self.source else {})


@dataclass(frozen=True)
class Observed:
    """The members, and the feature compatibility version of the set where somebody asked."""

    members: tuple[Member, ...]
    feature_compatibility: str | None = None
    by_host: Mapping[str, Member] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_host", {member.host: member for member in self.members})

    @property
    def primary(self) -> Member | None:
        """Return the primary, None while there is none."""
        return next((member for member in self.members if member.state == "PRIMARY"), None)


# ------------------------------------------------------------------------------------------------------------------ who and when


def missing(member: Member, target: Target) -> list[str]:
    """Return what the member still lacks of the target, in words; empty when it needs nothing."""
    reasons = []
    if member.due:
        reasons.append("its files are to be changed")
    if target.version is not None and member.version != target.version:
        reasons.append(f"runs {member.version}, not {target.version}" if member.version else "its version is not known")
    if target.started_after is not None and (member.started is None or member.started <= target.started_after):
        reasons.append("has not been restarted since the request")
    if member.changed is not None and (member.started is None or member.started <= member.changed):
        reasons.append("runs with what was there before its files changed")
    if target.security is not None and (member.security is None or rung(member.security) < rung(target.security)):
        now = "/".join(member.security) if member.security else "not known"
        reasons.append(f"its TLS mode and membership are {now}, not {'/'.join(target.security)}")
    if not member.up:
        reasons.append(f"is {member.state}")
    return reasons


def gates(observed: Observed, host: str, limits: Limits) -> list[Problem]:
    """Return every reason why ``host`` may not be stopped now; none for a member that does not run anyway.

    Codes: ``not_a_member``, ``majority_lost``, ``no_successor``, ``no_primary``, ``unhealthy``, ``lagging``, ``oplog_too_short`` and
    ``index_build``.
    """
    member = observed.by_host.get(host)
    if member is None:
        known = ", ".join(observed.by_host)
        return [Problem("not_a_member", f"{host} is not a member of this set; members are {known}.", lasting=True)]
    if not member.up:
        return []
    others = [other for other in observed.members if other.host != host]
    found = _quorum(observed, member, others)
    if observed.primary is None:
        found.append(Problem("no_primary", "The set has no primary."))
    found += [Problem("unhealthy", f"{other.host} is {other.state}.") for other in others if not other.up]
    found += [
        Problem("lagging", f"{other.host} is {other.lag:.0f} s behind; at most {limits.max_lag:g} s are accepted.")
        for other in others
        if other.up and other.lag > limits.max_lag
    ]
    found += [
        Problem(
            "oplog_too_short",
            f"The oplog of {one.host} reaches back {one.oplog_hours:.1f} h, less than the {limits.min_oplog_hours:g} h asked for: a member "
            "that is away longer would have to copy everything anew. Enlarge it (replSetResizeOplog), or ask for less.",
            lasting=True,
        )
        for one in observed.members
        if one.up and one.oplog_hours is not None and one.oplog_hours < limits.min_oplog_hours
    ]
    found += [
        Problem("index_build", f"{one.host} builds indexes of {', '.join(one.building)}; a restart would begin them anew.")
        for one in observed.members
        if one.building
    ]
    return found


def _quorum(observed: Observed, member: Member, others: Sequence[Member]) -> list[Problem]:
    """Whether a majority, and a primary, stay without the member."""
    found = []
    voters = sum(one.voter for one in observed.members)
    staying, up = sum(one.voter for one in others), sum(one.voter and one.up for one in others)
    if up * 2 <= voters:
        found.append(
            Problem(
                "majority_lost",
                f"Without {member.host} only {up} of {voters} voters would be up, and nothing could be written.",
                lasting=staying * 2 <= voters,
            )
        )
    if member.state == "PRIMARY" and not any(other.electable and other.up for other in others):
        found.append(
            Problem(
                "no_successor",
                f"No other member than {member.host} is up and may become primary.",
                lasting=not any(other.electable for other in others),
            )
        )
    return found


def redirects(observed: Observed, host: str) -> list[Step]:
    """Return who has to copy from another member before ``host`` goes, so that no write waits for a member that looks for a source.

    A member without a source looks again only after a second, and takes none that is not ahead of itself. Whoever copies from a member
    that is stopped, or from a primary that has stepped down, so holds up the majority for a second or two. When a secondary goes, its
    followers copy from the primary. When the primary goes, its successor copies from it and all others from the successor, directly or
    through others. The server hands over to the member of the highest priority among those that have everything, the first of equals.
    """
    leaving, primary = observed.by_host.get(host), observed.primary
    if leaving is None or primary is None:
        return []
    reason = f"nobody is to depend on {host} when it goes"
    staying = [one for one in observed.members if one.host != host and one.state == "SECONDARY"]
    if leaving is not primary:
        return [Step("sync_from", one.host, reason, primary.host) for one in staying if one.source == host]
    heirs = [one for one in staying if one.electable]
    if not heirs or len(staying) == 1:
        return []
    heir = max(heirs, key=lambda one: one.priority)
    steps = [Step("sync_from", heir.host, "it has everything first, and takes over", host)] if heir.source != host else []
    sources = {one.host: one.source for one in staying} | {heir.host: host}
    return steps + [Step("sync_from", one.host, reason, heir.host) for one in staying if heir.host not in _way(one.host, sources)]


def _way(host: str, sources: Mapping[str, str]) -> list[str]:
    """Return the members that what ``host`` copies has come through, itself first."""
    way = [host]
    while (following := sources.get(way[-1])) and following not in way:
        way.append(following)
    return way


def order(observed: Observed, target: Target) -> list[str]:
    """Return the members that still need to be rolled, in the order in which they go."""
    pending = [member for member in observed.members if missing(member, target)]
    return [
        member.host for member in sorted(pending, key=lambda one: (one.up, one.state == "PRIMARY", one.electable, one.priority, one.host))
    ]


def plan(observed: Observed, target: Target) -> list[Step]:
    """Return the steps from ``observed`` to the target; empty when every member shows it.

    :raises MongodbError: ``downgrade``, ``skips_major``, ``unknown_series`` or ``feature_compatibility`` for a version that cannot be
        the next one, ``skips_step`` for a TLS mode or membership that is not the next step.
    """
    if target.version is not None:
        refuse_version(observed, target.version)
    if target.security is not None:
        refuse_security(observed, target.security)
    steps: list[Step] = []
    state = observed
    while (step := next_step(state, target)) is not None:
        steps.append(step)
        state = advance(state, step, target)
        if len(steps) > 4 * len(observed.members) + 4:
            raise MongodbError("internal", "The plan does not come to an end; this is a bug.")
    return steps


def next_step(observed: Observed, target: Target) -> Step | None:
    """Return the first step to do, None when there is none."""
    pending = order(observed, target)
    if not pending:
        return None
    member = observed.by_host[pending[0]]
    if member.state == "PRIMARY" and any(one.electable and one.up and one is not member for one in observed.members):
        return Step("step_down", member.host, "hand over before it is stopped")
    return Step("roll", member.host, "; ".join(missing(member, target)))


def advance(observed: Observed, step: Step, target: Target) -> Observed:
    """Return what is to be observed after a step that went well."""
    heirs = [one for one in observed.members if one.electable and one.up and one.host != step.host]
    heir = max(heirs, key=lambda one: one.priority).host if heirs else None

    def after(member: Member) -> Member:
        if step.action == "step_down":
            states = {step.host: "SECONDARY", heir: "PRIMARY"}
            return dataclasses.replace(member, state=states.get(member.host, member.state))
        if member.host != step.host:
            return member
        times = [time for time in (target.started_after, member.changed, member.started) if time is not None]
        return dataclasses.replace(
            member,
            state=member.state if member.up else "SECONDARY",
            version=target.version or member.version,
            started=max(times) + 1 if times else member.started,
            due=False,
            security=target.security or member.security,
        )

    return dataclasses.replace(observed, members=tuple(after(member) for member in observed.members))


# -------------------------------------------------------------------------------------------------------------------- the ladders


def rung(security: tuple[str, str]) -> int:
    """Return the place of (TLS mode, membership) on the ladder.

    A set without key file says ``undefined`` for its membership; that is the rung of ``keyFile``.

    :raises MongodbError: ``off_the_ladder``.
    """
    tls, membership = security
    pair = (tls, "keyFile" if membership == "undefined" else membership)
    if pair not in SECURITY_LADDER:
        raise MongodbError(
            "off_the_ladder",
            f"TLS mode {tls} with membership by {membership} is no step of the way "
            f"{' -> '.join('/'.join(one) for one in SECURITY_LADDER)}.",
        )
    return SECURITY_LADDER.index(pair)


def refuse_security(observed: Observed, wanted: tuple[str, str]) -> None:
    """Refuse a TLS mode and membership that a member which runs now would not understand.

    :raises MongodbError: ``skips_step`` or ``off_the_ladder``.
    """
    for member in observed.members:
        if member.security is not None and rung(wanted) - rung(member.security) > 1:
            raise MongodbError(
                "skips_step",
                f"{member.host} runs with {'/'.join(member.security)}; {'/'.join(wanted)} is more than one step away, and members that "
                "are two steps apart do not understand each other. Go there by playbooks/mongodb_tls.yml.",
            )


def rounds(positions: Sequence[int], goal: int) -> list[int]:
    """Return the rungs that a whole set is brought to one after the other, so that two members are never two rungs apart.

    ``positions`` are the members' places now, which a run that died may have left one apart.

    :raises MongodbError: ``cannot_descend`` when a member is above the goal already.
    """
    if max(positions) > goal:
        raise MongodbError("cannot_descend", "A member is beyond the goal already; the way back is not a planned path.")
    return list(range(min(positions) + 1, goal + 1))


# ------------------------------------------------------------------------------------------------------------------- the versions


def series_of(version: str) -> str:
    """Return the release series ``major.minor`` of a version.

    :raises MongodbError: ``bad_version`` or ``unknown_series``.
    """
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        raise MongodbError("bad_version", f"{version!r} is not a version such as 6.0.27.")
    series = ".".join(parts[:2])
    if series not in SERIES:
        raise MongodbError("unknown_series", f"{version} is of none of the series that upgrades are known for: {', '.join(SERIES)}.")
    return series


def number_of(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare; what follows a dash (a release candidate) does not count.

    :raises MongodbError: ``bad_version``.
    """
    try:
        return tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        raise MongodbError("bad_version", f"{version!r} is not a version such as 6.0.27.") from None


def refuse_version(observed: Observed, wanted: str) -> None:
    """Refuse a version that is older than one that runs, or that is not the next step from the oldest one that runs.

    :raises MongodbError: ``downgrade``, ``skips_major``, ``unknown_series``, ``bad_version`` or ``feature_compatibility``.
    """
    goal = series_of(wanted)
    for member in observed.members:
        if member.version is None:
            continue
        if number_of(member.version) > number_of(wanted):
            raise MongodbError(
                "downgrade", f"{member.host} runs {member.version}, and {wanted} is older: data files are not taken back by this way."
            )
        present = series_of(member.version)
        if SERIES.index(goal) - SERIES.index(present) > 1:
            following = SERIES[SERIES.index(present) + 1]
            raise MongodbError(
                "skips_major", f"{member.host} runs {member.version}: {wanted} would skip {following}. Upgrade to {following} first."
            )
        if present != goal and observed.feature_compatibility not in (None, present):
            raise MongodbError(
                "feature_compatibility",
                f"{member.host} runs {member.version} with the feature compatibility version {observed.feature_compatibility}: raise it to "
                f"{present} before the upgrade to {wanted} (playbooks/mongodb_feature_compatibility.yml).",
            )


def refuse_feature_compatibility(observed: Observed, wanted: str) -> bool:
    """Tell whether the feature compatibility version has to be raised to ``wanted``, or refuse to.

    :raises MongodbError: ``downgrade``, ``skips_major``, ``mixed_versions``, ``unhealthy`` or ``unknown_series``.
    """
    if wanted not in SERIES:
        raise MongodbError("unknown_series", f"{wanted!r} is none of the series {', '.join(SERIES)}.")
    present = observed.feature_compatibility
    if present == wanted:
        return False
    for member in observed.members:
        if member.state == "ARBITER":
            continue
        if not member.up or member.version is None:
            raise MongodbError("unhealthy", f"{member.host} is {member.state}: all members must be up when formats of data change.")
        if series_of(member.version) != wanted:
            raise MongodbError("mixed_versions", f"{member.host} runs {member.version}; all members must run {wanted} first.")
    if present in SERIES and SERIES.index(present) > SERIES.index(wanted):
        raise MongodbError("downgrade", f"The feature compatibility version is {present}; taking it back to {wanted} is not done here.")
    if present in SERIES and SERIES.index(wanted) - SERIES.index(present) > 1:
        raise MongodbError("skips_major", f"The feature compatibility version is {present}; {wanted} is more than one step away.")
    return True
