# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the steps that bring a host's people accounts to a wanted state.

Nothing here does I/O: the module reads the account databases, :func:`plan` compares, the module carries the steps out.
The steps of one account are ordered so that a run that dies between any two of them leaves an account that is either
complete, or closed; planning again from there gives the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Accounts below this number belong to the system (login.defs UID_MIN of Debian).
FIRST_PERSON_UID = 1000
#: `nobody` and the like lie above the people.
LAST_PERSON_UID = 60000
#: The password field of a person's account: no password matches it, and key logins work with and without PAM.
NO_PASSWORD = "*"  # noqa: S105  -- it is the field that says that there is no password


class AccountsError(Exception):
    """A wanted account that must not be made or removed; the message says which one and why."""


@dataclass(frozen=True)
class Wanted:
    """One account as it should be."""

    name: str
    comment: str = ""
    shell: str = "/bin/bash"
    present: bool = True
    remove_home: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Wanted:
        """Make one from module options (name, comment, shell, state, remove_home)."""
        return cls(
            name=str(options["name"]),
            comment=str(options.get("comment") or ""),
            shell=str(options.get("shell") or "/bin/bash"),
            present=options.get("state", "present") == "present",
            remove_home=bool(options.get("remove_home", False)),
        )


@dataclass(frozen=True)
class Found:
    """One account as the host has it: fields of passwd(5) and shadow(5); `expires` is in days, empty for never."""

    name: str
    uid: int
    comment: str
    shell: str
    home: str
    password: str
    expires: str
    home_missing: bool = False


@dataclass(frozen=True)
class Step:
    """One change: a command to run, or (`end_processes_of` set to a uid) an account's processes to end."""

    name: str
    text: str
    argv: tuple[str, ...] = ()
    end_processes_of: int | None = None


def read_accounts(passwd: str, shadow: str) -> dict[str, Found]:
    """Read the accounts from the texts of /etc/passwd and /etc/shadow, by name."""
    secrets: dict[str, tuple[str, str]] = {}
    for line in shadow.splitlines():
        fields = line.split(":")
        if len(fields) >= 8:
            secrets[fields[0]] = (fields[1], fields[7])
    found: dict[str, Found] = {}
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) < 7 or not fields[2].isdigit():
            continue
        password, expires = secrets.get(fields[0], (NO_PASSWORD, ""))
        found[fields[0]] = Found(fields[0], int(fields[2]), fields[4], fields[6], fields[5], password, expires)
    return found


def read_groups(group: str) -> frozenset[str]:
    """Read the names of the groups from the text of /etc/group."""
    return frozenset(line.split(":")[0] for line in group.splitlines() if ":" in line)


def _is_person(account: Found) -> bool:
    return FIRST_PERSON_UID <= account.uid <= LAST_PERSON_UID


def _refuse_system(wanted: Wanted, account: Found) -> None:
    if not _is_person(account):
        raise AccountsError(
            f"account {wanted.name} belongs to the system (uid {account.uid}, not {FIRST_PERSON_UID}..{LAST_PERSON_UID}); "
            "this module manages accounts of people only: take it off the list"
        )


def _create(wanted: Wanted, groups: frozenset[str]) -> Step:
    group = ("--gid", wanted.name) if wanted.name in groups else ("--user-group",)
    argv = (
        "useradd",
        "--create-home",
        *group,
        "--shell",
        wanted.shell,
        "--comment",
        wanted.comment,
        "--password",
        NO_PASSWORD,
        wanted.name,
    )
    return Step(wanted.name, f"create {wanted.name}", argv)


def _change(wanted: Wanted, account: Found) -> list[Step]:
    argv: list[str] = []
    words: list[str] = []
    if account.comment != wanted.comment:
        argv += ["--comment", wanted.comment]
        words.append("comment")
    if account.shell != wanted.shell:
        argv += ["--shell", wanted.shell]
        words.append("shell")
    if account.password != NO_PASSWORD:
        argv += ["--password", NO_PASSWORD]
        words.append("password taken away")
    if account.expires:
        argv += ["--expiredate", ""]
        words.append("expiry date taken away")
    steps = [Step(wanted.name, f"change {wanted.name}: {', '.join(words)}", ("usermod", *argv, wanted.name))] if argv else []
    if account.home_missing:
        # useradd died before it came to the home directory, or somebody removed it.
        steps.append(Step(wanted.name, f"make the home directory of {wanted.name}", ("mkhomedir_helper", wanted.name, "0077")))
    return steps


def _remove(wanted: Wanted, account: Found) -> list[Step]:
    home = ("--remove",) if wanted.remove_home else ()
    return [
        Step(wanted.name, f"close {wanted.name}", ("usermod", "--lock", "--expiredate", "1", wanted.name)),
        Step(wanted.name, f"end the sessions of {wanted.name}", end_processes_of=account.uid),
        Step(wanted.name, f"remove {wanted.name}", ("userdel", *home, wanted.name)),
    ]


def plan(
    wanted: Sequence[Wanted],
    found: Mapping[str, Found],
    groups: frozenset[str] = frozenset(),
    in_use: frozenset[int] = frozenset(),
) -> list[Step]:
    """Return the steps from `found` to `wanted`; accounts that are not listed are never part of a step.

    `in_use` are the uids that the present run came through; an account among them is not removed.
    Raises AccountsError for an account listed twice, a system account, the run's own account to be removed,
    and an account to be removed that shares its uid with another name.
    """
    names = [account.name for account in wanted]
    for name in names:
        if names.count(name) > 1:
            raise AccountsError(f"account {name} is listed {names.count(name)} times; list it once")
    steps: list[Step] = []
    for account in wanted:
        present = found.get(account.name)
        if present is None:
            if account.present:
                steps.append(_create(account, groups))
            continue
        _refuse_system(account, present)
        if account.present:
            steps += _change(account, present)
            continue
        if present.uid in in_use:
            raise AccountsError(
                f"account {account.name} is the one this run is logged in with; it cannot remove itself: log in with another one"
            )
        shared = sorted(other.name for other in found.values() if other.uid == present.uid and other.name != account.name)
        if shared:
            raise AccountsError(f"account {account.name} shares uid {present.uid} with {', '.join(shared)}; give it a uid of its own first")
        steps += _remove(account, present)
    return steps


def describe(found: Mapping[str, Found], names: Sequence[str]) -> str:
    """Show the named accounts one a line, for a diff; passwords show only as `locked` or `set`."""
    lines = []
    for name in sorted(names):
        account = found.get(name)
        if account is None:
            continue
        state = "locked" if account.password[:1] in ("*", "!") else "set"
        more = f" expires={account.expires}" if account.expires else ""
        more += " home=missing" if account.home_missing else ""
        lines.append(f"{name}: comment={account.comment!r} shell={account.shell} password={state}{more}\n")
    return "".join(lines)


def foresee(wanted: Sequence[Wanted], found: Mapping[str, Found]) -> dict[str, Found]:
    """Return the accounts as they will be after the plan has been carried out (a new uid shows as -1)."""
    after = dict(found)
    for account in wanted:
        if not account.present:
            after.pop(account.name, None)
            continue
        before = found.get(account.name)
        after[account.name] = Found(
            name=account.name,
            uid=before.uid if before else -1,
            comment=account.comment,
            shell=account.shell,
            home=before.home if before else f"/home/{account.name}",
            password=NO_PASSWORD,
            expires="",
        )
    return after
