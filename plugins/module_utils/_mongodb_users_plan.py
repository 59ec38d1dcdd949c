# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way from the users a MongoDB cluster has to the users it should have. Pure: no input, no output.

Order of a plan: the account we log in with is created first when the cluster has no users at all (the localhost exception opens
one door for one user); then creations and changes in the order of the description, then removals, and a change of the account we
log in with at the very end, so that its own rights last for all the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

Role = tuple[str, str]  # (role, database)
UserKey = tuple[str, str]  # (database, name)

# Built-in roles on `admin` that let the first user create the others.
CREATES_USERS = frozenset({"root", "userAdminAnyDatabase", "userAdmin", "dbOwner", "__system"})


@dataclass(frozen=True)
class User:
    """One described user. ``password`` None: leave it; ``roles`` None: leave them, empty: take all away.

    ``update`` is ``always`` or ``on_create``: when the password is written.
    """

    name: str
    database: str = "admin"
    password: str | None = field(default=None, repr=False)
    roles: frozenset[Role] | None = None
    state: str = "present"
    update: str = "always"

    @property
    def key(self) -> UserKey:
        """Return what identifies the user in the cluster."""
        return (self.database, self.name)

    @property
    def label(self) -> str:
        """Return the user as the server writes it: database.name."""
        return f"{self.database}.{self.name}"


@dataclass(frozen=True)
class Account:
    """One user as the cluster has it. ``password_matches`` None: not known and not asked for."""

    roles: frozenset[Role] = frozenset()
    password_matches: bool | None = None


@dataclass(frozen=True)
class Observed:
    """What the cluster says. ``accounts`` None: it has no users at all; ``known_roles`` None: could not be asked."""

    accounts: Mapping[UserKey, Account] | None
    known_roles: frozenset[Role] | None = None


@dataclass(frozen=True)
class Step:
    """One command. ``action`` is create_user, update_user or drop_user; ``changes`` names what is written, never a password."""

    action: str
    user: User
    changes: tuple[str, ...] = ()
    first: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        how = " through the localhost exception" if self.first else ""
        reason = {
            "create_user": f"create {self.user.label}{how}",
            "update_user": f"change {' and '.join(self.changes)} of {self.user.label}",
            "drop_user": f"remove {self.user.label}",
        }[self.action]
        return {"action": self.action, "user": self.user.name, "database": self.user.database, "reason": reason}


def parse_roles(label: str, database: str, raw: Iterable[Any] | None) -> frozenset[Role] | None:
    """Read a list of roles; a bare name means the role of the user's own database.

    :raises MongodbError: ``bad_role``.
    """
    if raw is None:
        return None
    roles: set[Role] = set()
    for role in raw:
        if isinstance(role, str) and role.strip():
            roles.add((role.strip(), database))
        elif isinstance(role, Mapping) and set(role) == {"role", "db"} and all(isinstance(part, str) and part for part in role.values()):
            roles.add((role["role"], role["db"]))
        else:
            raise MongodbError("bad_role", f"User {label}: role {role!r} is neither a name nor a mapping of role and db.")
    return frozenset(roles)


def parse_users(raw: Sequence[Mapping[str, Any]]) -> tuple[User, ...]:
    """Read and check the ``users`` option.

    :raises MongodbError: ``bad_user``, ``bad_role`` or ``duplicate_user``.
    """
    users: list[User] = []
    for entry in raw:
        name, database = entry.get("name") or "", entry.get("database") or "admin"
        database_ok = database == "$external" or not any(char in database for char in '\0/\\. "$')
        if not name or "\0" in name or not database_ok or database == "local":
            raise MongodbError("bad_user", f"User {name!r} in database {database!r}: the name is empty or the database cannot hold users.")
        if entry.get("password") == "":
            raise MongodbError("bad_user", f"User {database}.{name}: the password is empty. Leave it out to keep the present one.")
        users.append(
            User(
                name=name,
                database=database,
                password=entry.get("password"),
                roles=parse_roles(f"{database}.{name}", database, entry.get("roles")),
                state=entry.get("state") or "present",
                update=entry.get("update_password") or "always",
            )
        )
    keys = [user.key for user in users]
    twice = sorted({user.label for user in users if keys.count(user.key) > 1})
    if twice:
        raise MongodbError("duplicate_user", f"{', '.join(twice)} is listed more than once.")
    return tuple(users)


def plan(desired: Sequence[User], observed: Observed, login: UserKey | None) -> list[Step]:
    """Return the steps from ``observed`` to ``desired``; empty when there is nothing to do.

    :param login: the account the module logs in with, None when the cluster knows no logins.
    :raises MongodbError: ``first_user_missing``, ``password_missing``, ``drops_login_user``, ``locks_out_login_user`` or
        ``unknown_role``.
    """
    _refuse(desired, observed, login)
    accounts = observed.accounts or {}
    creations: list[Step] = []
    changes: list[Step] = []
    removals: list[Step] = []
    for user in desired:
        account = accounts.get(user.key)
        if user.state == "absent":
            if account is not None:
                removals.append(Step("drop_user", user))
        elif account is None:
            first = observed.accounts is None and user.key == login
            step = Step("create_user", user, ("password", "roles"), first=first)
            creations.insert(0, step) if first else creations.append(step)
        else:
            changed = changes_of(user, account)
            if changed:
                changes.append(Step("update_user", user, changed))
    own = [step for step in changes if step.user.key == login]
    others = [step for step in changes if step.user.key != login]
    return creations + others + removals + own


def changes_of(user: User, account: Account) -> tuple[str, ...]:
    """Return which of password and roles differ from the description."""
    changed: list[str] = []
    if user.password is not None and user.update == "always" and account.password_matches is False:
        changed.append("password")
    if user.roles is not None and user.roles != account.roles:
        changed.append("roles")
    return tuple(changed)


def _refuse(desired: Sequence[User], observed: Observed, login: UserKey | None) -> None:
    by_key = {user.key: user for user in desired}
    own = by_key.get(login) if login is not None else None
    if observed.accounts is None and login is not None:
        if own is None or own.state == "absent" or own.password is None:
            raise MongodbError(
                "first_user_missing",
                f"The cluster has no users yet, and {login[0]}.{login[1]} (login_user) is not among users with a password: "
                "it must be the first.",
            )
        if login[0] != "admin" or not any(role in CREATES_USERS and database == "admin" for role, database in own.roles or ()):
            raise MongodbError(
                "first_user_missing",
                f"{own.label} is to be the first user and could not create the others: it needs database admin and the role root or "
                "userAdminAnyDatabase there.",
            )
    if own is not None and own.state == "absent":
        raise MongodbError("drops_login_user", f"{own.label} is the account that is logged in; log in as another to remove it.")
    if own is not None and own.roles is not None and not own.roles:
        raise MongodbError("locks_out_login_user", f"{own.label} is the account that is logged in; without roles nobody could undo it.")
    for user in desired:
        if user.state == "present" and user.key not in (observed.accounts or {}) and user.password is None and user.database != "$external":
            raise MongodbError("password_missing", f"{user.label} does not exist and has no password to be created with.")
    if observed.known_roles is not None:
        for user in desired:
            unknown = sorted((user.roles or frozenset()) - observed.known_roles) if user.state == "present" else []
            if unknown:
                names = ", ".join(f"{role}@{database}" for role, database in unknown)
                raise MongodbError("unknown_role", f"{user.label}: the cluster knows no role {names}.")


def picture(
    users: Iterable[User], accounts: Mapping[UserKey, Account] | None, steps: Sequence[Step]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (before, after) of the described users as plain data for a diff. Passwords show only as kept or replaced."""
    planned = {step.user.key: step for step in steps}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for user in users:
        account = (accounts or {}).get(user.key)
        step = planned.get(user.key)
        if account is not None:
            before[user.label] = {"password": "(kept)", "roles": _names(account.roles)}
        if step is None:
            if account is not None:
                after[user.label] = before[user.label]
        elif step.action != "drop_user":
            roles = user.roles if user.roles is not None else (account.roles if account else frozenset())
            replaced = step.action == "create_user" or "password" in step.changes
            after[user.label] = {"password": "(replaced)" if replaced else "(kept)", "roles": _names(roles)}
    return before, after


def _names(roles: Iterable[Role]) -> list[str]:
    return sorted(f"{role}@{database}" for role, database in roles)
