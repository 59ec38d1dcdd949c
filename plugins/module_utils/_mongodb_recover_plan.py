# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the recovery of a replica set that has lost its majority for good. Pure.

A forced reconfiguration is the one act on a replica set that can undo writes which the majority had acknowledged (the server's
manual, "Reconfigure a Replica Set with Unavailable Members"). So it is planned only when nothing else is left: no primary, no
majority that answers, and a list of survivors that names everybody who does answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_spec import MAX_VOTERS, Member, canonical_host


@dataclass(frozen=True)
class Sight:
    """What is seen of one member. ``answers`` from here or to the survivor we asked; ``newest`` is when it made its newest write, as
    far as that survivor has heard."""

    answers: bool
    primary: bool = False
    newest: datetime | None = None


@dataclass(frozen=True)
class Situation:
    """The set as one survivor has it. ``saved`` is the configuration in the backup file, None when there is no file;
    ``committed`` is the newest write that this survivor knows to be with the majority."""

    name: str
    entry: str
    members: tuple[Member, ...]
    sights: Mapping[str, Sight]
    version: int
    saved: tuple[str, int] | None = None
    committed: datetime | None = None

    @property
    def primary(self) -> str | None:
        """Return the host of the primary, None when nobody leads."""
        return next((host for host, sight in self.sights.items() if sight.primary), None)


@dataclass(frozen=True)
class Step:
    """One step: save, force_reconfigure or wait_primary. ``members`` is the whole configuration after force_reconfigure."""

    action: str
    reason: str
    members: tuple[Member, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        return {"action": self.action, "host": None, "reason": self.reason}


def parse_survivors(name: str, hosts: Sequence[str], confirm: str | None, *, check_mode: bool) -> tuple[str, ...]:
    """Check what can be judged without a server and return the survivors in canonical form.

    :raises MongodbError: ``not_confirmed``, ``empty_members``, ``duplicate_member`` or ``bad_host``.
    """
    if confirm != name and not (check_mode and confirm is None):
        given = "confirm is missing" if confirm is None else f"confirm = {confirm!r} is not the name of the set"
        raise MongodbError(
            "not_confirmed",
            f"{given}. A forced reconfiguration can lose writes that were acknowledged; type confirm: {name} if the majority is gone "
            "for good.",
        )
    if not hosts:
        raise MongodbError("empty_members", "survivors is empty: list every member that still answers.")
    survivors = tuple(canonical_host(host) for host in hosts)
    twice = sorted({host for host in survivors if survivors.count(host) > 1})
    if twice:
        raise MongodbError("duplicate_member", f"survivors: {', '.join(twice)} is listed more than once.")
    return survivors


def plan(survivors: Sequence[str], situation: Situation) -> list[Step]:
    """Return the steps to a set of the survivors, empty when that is what the set is.

    :raises MongodbError: ``unknown_member``, ``entry_not_survivor``, ``survivor_down``, ``survivor_left_out``, ``majority_reachable``,
        ``no_electable_member`` or ``backup_exists``.
    """
    hosts = [member.host for member in situation.members]
    unknown = [host for host in survivors if host not in hosts]
    if unknown:
        raise MongodbError(
            "unknown_member", f"survivors: {', '.join(unknown)} is no member of {situation.name}; its members are {', '.join(hosts)}."
        )
    if set(hosts) == set(survivors) and situation.primary is not None:
        return []
    _refuse(survivors, situation)
    wait = Step("wait_primary", f"wait for a primary among {', '.join(survivors)}")
    if set(hosts) == set(survivors):
        return [wait]
    kept = _kept(survivors, situation)
    gone = ", ".join(host for host in hosts if host not in survivors)
    steps = [Step("force_reconfigure", f"force {situation.name} to {', '.join(survivors)}, without {gone}", kept), wait]
    if situation.saved is None:
        return [Step("save", f"save version {situation.version} of the configuration"), *steps]
    if situation.saved != (situation.name, situation.version):
        raise MongodbError(
            "backup_exists", "backup_file exists and holds something else than the present configuration: give another name."
        )
    return steps


def _refuse(survivors: Sequence[str], situation: Situation) -> None:
    """Refuse while there is a safe way, or while the list is not what is seen."""
    if situation.entry not in survivors:
        raise MongodbError(
            "entry_not_survivor", f"login_host is {situation.entry}, which is not among the survivors: log in at one of them."
        )
    voters = [member.host for member in situation.members if member.votes]
    answering = [host for host in voters if situation.sights[host].answers]
    whole = set(survivors) == {member.host for member in situation.members}
    if not whole and (situation.primary is not None or 2 * len(answering) > len(voters)):
        leader = f"{situation.primary} is primary" if situation.primary else f"{len(answering)} of {len(voters)} voters answer"
        raise MongodbError(
            "majority_reachable", f"{leader}, so the majority is not lost. Use linda.ops.mongodb_replset, which loses no write."
        )
    silent = [host for host in survivors if not situation.sights[host].answers]
    if silent:
        raise MongodbError("survivor_down", f"survivors: {', '.join(silent)} does not answer. Start it, or leave it out.")
    left_out = [host for host, sight in situation.sights.items() if sight.answers and host not in survivors]
    if left_out:
        raise MongodbError(
            "survivor_left_out", f"{', '.join(left_out)} answers and is not among the survivors. List it, or stop it if its data are bad."
        )


def _kept(survivors: Sequence[str], situation: Situation) -> tuple[Member, ...]:
    """Return the members of the new configuration, as they are if one of them can lead.

    Where only members are left that were never to lead (hidden ones, those of a second site), they get a vote and priority 1; one that
    is behind on purpose only when there is no other.
    """
    kept = [member for member in situation.members if member.host in survivors]
    if any(member.electable for member in kept):
        return tuple(kept)
    able = [member for member in kept if not member.arbiter and member.build_indexes]
    able = [member for member in able if not member.delay] or able
    if not able:
        raise MongodbError("no_electable_member", f"None of {', '.join(survivors)} holds all data, so none can become primary.")
    chosen = {member.host for member in able[:MAX_VOTERS]}
    return tuple(
        dataclasses.replace(member, votes=1, priority=1.0, hidden=False, delay=0)
        if member.host in chosen
        else dataclasses.replace(member, votes=int(member.arbiter), priority=0.0)
        for member in kept
    )


def at_risk(survivors: Sequence[str], situation: Situation) -> dict[str, Any]:
    """Return which writes may be lost: times in ISO 8601, and a sentence for a person."""
    known = [situation.sights[host].newest for host in survivors]
    newest = max((moment for moment in known if moment is not None), default=None)
    lost = [
        {"host": member.host, "last_write_seen": _iso(situation.sights[member.host].newest)}
        for member in situation.members
        if member.host not in survivors
    ]
    names = ", ".join(str(one["host"]) for one in lost)
    return {
        "kept_until": _iso(newest),
        "committed_until": _iso(situation.committed),
        "lost_members": lost,
        "message": f"The survivors have all writes up to {_iso(newest)}. A later write that only {names} had is no longer in the set, also "
        "when the majority had acknowledged it. Move the data path of a lost member aside before it is added again: it holds such writes, "
        "and a server that acknowledged them stops rather than undo them."
        if lost
        else "Nothing: the set consists of the survivors.",
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds") + ("" if moment.tzinfo else "+00:00")
