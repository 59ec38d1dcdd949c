# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way from the users and roles a MongoDB cluster has to those it should have. Pure: no input, no output.

Order of a plan, so that every prefix of it is a state in which everybody can do what they could before or will do after:

1. the account we log in with, when the cluster has no users at all (the localhost exception opens one door for one user);
2. custom roles, each after those it inherits: new ones first, then changed ones;
3. users that are new or changed, in the order of the description, then users that go;
4. custom roles that go, heirs first, when nobody described needs them any more;
5. changes of the roles that we ourselves have, and of our own account, so that our rights last for all the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_spec import (
    EXTERNAL,
    CustomRole,
    Privileges,
    Restriction,
    Role,
    User,
    UserKey,
    admits,
    inheritance_order,
    privileges_document,
    restrictions_document,
)

# Built-in roles on `admin` that let the first user create the others.
CREATES_USERS = frozenset({"root", "userAdminAnyDatabase", "userAdmin", "dbOwner", "__system"})
# Actions that no built-in role has, so that the server does not name them among those roles' own.
UNGRANTED_ACTIONS = frozenset({"anyAction", "internal"})
NOBODY = frozenset({("local", "__system")})


@dataclass(frozen=True)
class Description:
    """What should be. ``unmanaged`` is ``keep``, ``report`` or ``drop``; ``spared`` are users outside of it that stay in any case."""

    users: tuple[User, ...] = ()
    roles: tuple[CustomRole, ...] = ()
    unmanaged: str = "keep"
    spared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Account:
    """One user as the cluster has it. None: not known and not asked for."""

    roles: frozenset[Role] = frozenset()
    password_matches: bool | None = None
    mechanisms: frozenset[str] = frozenset()
    restrictions: frozenset[Restriction] | None = None
    custom_data: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RoleState:
    """One role as the cluster has it; ``privileges`` and ``restrictions`` of custom roles only."""

    roles: frozenset[Role] = frozenset()
    privileges: Privileges = field(default_factory=dict)
    restrictions: frozenset[Restriction] = frozenset()
    builtin: bool = False


@dataclass(frozen=True)
class Observed:
    """What the cluster says.

    accounts:      the described users that exist; None: the cluster has no users at all.
    roles:         the roles that exist of those that the description names; None: could not be asked.
    actions:       the actions that the server knows; None: not asked.
    everybody:     every user with its roles; None: not asked.
    own_roles:     the roles of the account we log in with, inherited ones too.
    client:        the address from which the server sees us; None: not asked.
    connections:   for users whose use matters, one text for each connection that is logged in as them.
    """

    accounts: Mapping[UserKey, Account] | None
    roles: Mapping[Role, RoleState] | None = None
    actions: frozenset[str] | None = None
    everybody: Mapping[UserKey, frozenset[Role]] | None = None
    own_roles: frozenset[Role] = frozenset()
    client: str | None = None
    connections: Mapping[UserKey, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One command, or the wait before one; ``changes`` names what is written, never a password.

    action:         create_user, update_user, drop_user, create_role, update_role, drop_role or wait_unused
    with_password:  whether the password is sent
    mechanisms:     the SCRAM mechanisms to send; the server falls back to all of them when a password comes without
    """

    action: str
    subject: User | CustomRole
    changes: tuple[str, ...] = ()
    first: bool = False
    with_password: bool = False
    mechanisms: frozenset[str] | None = None

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        verb, _under, kind = self.action.partition("_")
        label = self.subject.label if kind != "role" else f"role {self.subject.label}"
        how = " through the localhost exception" if self.first else ""
        reason = {
            "create": f"create {label}{how}",
            "update": f"change {' and '.join(self.changes)} of {label}",
            "drop": f"remove {label}",
            "wait": f"wait until no connection uses {label}",
        }[verb]
        name = {"role" if kind == "role" else "user": self.subject.name}
        return {"action": self.action, **name, "database": self.subject.database, "reason": reason}


def plan(desired: Description, observed: Observed, login: UserKey | None) -> list[Step]:
    """Return the steps from ``observed`` to ``desired``; empty when there is nothing to do.

    :param login: the account the module logs in with, None when the cluster knows no logins.
    :raises MongodbError: ``first_user_missing``, ``password_missing``, ``drops_login_user``, ``locks_out_login_user``, ``unknown_role``,
        ``unknown_action``, ``builtin_role``, ``role_in_use``, ``role_cycle`` or ``user_in_use``.
    """
    _refuse_users(desired, observed, login)
    _refuse_roles(desired, observed)
    new_roles, changed_roles, own_roles, old_roles = _role_steps(desired, observed)
    created, changed, removed, own = _user_steps(desired, observed, login)
    first, created = ([step for step in created if step.first is wanted] for wanted in (True, False))
    steps = first + new_roles + changed_roles + created + changed + removed + old_roles + own_roles + own
    _refuse_use(steps, observed)
    return steps


def _user_steps(desired: Description, observed: Observed, login: UserKey | None) -> tuple[list[Step], list[Step], list[Step], list[Step]]:
    """Return the steps that create users, change them, remove them, and change our own account."""
    accounts = observed.accounts or {}
    created: list[Step] = []
    changed: list[Step] = []
    removed: list[Step] = []
    own: list[Step] = []
    for user in desired.users:
        account = accounts.get(user.key)
        if user.state == "absent":
            removed += _drop(user) if account is not None else []
        elif account is not None:
            steps = _update(user, account)
            own += steps if user.key == login else []
            changed += steps if user.key != login else []
        elif observed.accounts is None and user.key == login:
            # Roles of our own are still to come, and so this one gets them at the end.
            held = (user.roles or frozenset()) - {role.key for role in desired.roles}
            created.append(_create(replace(user, roles=held), first=True))
            own += _update(user, Account(held, True, user.mechanisms or frozenset(), user.restrictions, user.custom_data))
        else:
            created.append(_create(user))
    removed += [step for key in unmanaged(desired, observed, login) if desired.unmanaged == "drop" for step in _drop(User(key[1], key[0]))]
    return created, changed, removed, own


def _create(user: User, *, first: bool = False) -> Step:
    optional = {"mechanisms": user.mechanisms, "authentication_restrictions": user.restrictions, "custom_data": user.custom_data}
    changes = ("password", "roles", *(name for name, value in optional.items() if value is not None))
    return Step("create_user", user, changes, first, with_password=user.password is not None, mechanisms=user.mechanisms)


def _drop(user: User) -> list[Step]:
    waiting = [Step("wait_unused", user)] if user.in_use == "wait" else []
    return [*waiting, Step("drop_user", user)]


def _update(user: User, account: Account) -> list[Step]:
    changes = changes_of(user, account)
    if not changes:
        return []
    added = sorted((user.mechanisms or frozenset()) - account.mechanisms)
    if added and (user.password is None or user.update != "always"):
        raise MongodbError(
            "password_missing",
            f"{user.label}: mechanisms adds {', '.join(added)}, for which the server needs the password again: give it, with "
            "update_password: always.",
        )
    with_password = bool(added) or "password" in changes
    # The server derives credentials of every mechanism from a password that comes without a choice of them.
    sent = user.mechanisms or account.mechanisms or None if with_password else (user.mechanisms if "mechanisms" in changes else None)
    waiting = [Step("wait_unused", user)] if user.in_use == "wait" and "password" in changes else []
    return [*waiting, Step("update_user", user, changes, with_password=with_password, mechanisms=sent)]


def changes_of(user: User, account: Account) -> tuple[str, ...]:
    """Return which properties of an existing user differ from the description."""
    pairs = {
        "roles": (user.roles, account.roles),
        "mechanisms": (user.mechanisms, account.mechanisms),
        "authentication_restrictions": (user.restrictions, account.restrictions),
        "custom_data": (user.custom_data, account.custom_data),
    }
    password = user.password is not None and user.update == "always" and account.password_matches is False
    return ("password",) * password + tuple(name for name, (wanted, present) in pairs.items() if wanted is not None and wanted != present)


def unmanaged(desired: Description, observed: Observed, login: UserKey | None) -> list[UserKey]:
    """Return the users that the description neither names nor spares; never the account we log in with, never the server's own."""
    known = {user.key for user in desired.users} | NOBODY | ({login} if login is not None else set())
    return sorted(key for key in observed.everybody or () if key not in known and f"{key[0]}.{key[1]}" not in desired.spared)


def _role_steps(desired: Description, observed: Observed) -> tuple[list[Step], list[Step], list[Step], list[Step]]:
    """Return the steps that create roles, change them, change those that we have ourselves, and remove roles."""
    present = observed.roles or {}
    by_key = {role.key: role for role in desired.roles}
    new: list[Step] = []
    changed: list[Step] = []
    own: list[Step] = []
    for key in _order(desired, present):
        role = by_key.get(key)
        if role is None or role.state == "absent":
            continue
        if key not in present:
            given = {"privileges": role.privileges, "roles": role.roles, "authentication_restrictions": role.restrictions}
            new.append(Step("create_role", role, tuple(name for name, value in given.items() if value is not None)))
        elif changes := role_changes(role, present[key]):
            (own if key in observed.own_roles else changed).append(Step("update_role", role, changes))
    heirs_first = reversed(inheritance_order({key: state.roles for key, state in present.items()}))
    gone = [Step("drop_role", by_key[key]) for key in heirs_first if key in by_key and by_key[key].state == "absent"]
    return new, changed, own, gone


def _order(desired: Description, present: Mapping[Role, RoleState]) -> list[Role]:
    """Return described and present roles so that each comes after those it is to inherit.

    Then a change never closes a circle with an inheritance that is still to be undone: what was changed inherits only what was changed.
    """
    parents = {key: state.roles for key, state in present.items()}
    for role in desired.roles:
        kept = role.roles if role.roles is not None else parents.get(role.key, frozenset())
        parents[role.key] = kept if role.state == "present" else frozenset()
    return inheritance_order(parents)


def role_changes(role: CustomRole, state: RoleState) -> tuple[str, ...]:
    """Return which properties of an existing role differ from the description."""
    pairs: dict[str, tuple[object, object]] = {
        "privileges": (role.privileges, state.privileges),
        "roles": (role.roles, state.roles),
        "authentication_restrictions": (role.restrictions, state.restrictions),
    }
    return tuple(name for name, (wanted, has) in pairs.items() if wanted is not None and wanted != has)


def _refuse_users(desired: Description, observed: Observed, login: UserKey | None) -> None:
    own = next((user for user in desired.users if user.key == login), None) if login is not None else None
    if observed.accounts is None and login is not None:
        _refuse_first(own, login)
    if own is not None:
        _refuse_lock_out(own, observed)
    for user in desired.users:
        if user.state != "present":
            continue
        if user.key not in (observed.accounts or {}) and user.password is None and user.database != EXTERNAL:
            raise MongodbError("password_missing", f"{user.label} does not exist and has no password to be created with.")
        described = {role.key: role.state for role in desired.roles}
        lost = sorted(role for role in user.roles or () if described.get(role) == "absent")
        if lost:
            raise MongodbError("role_in_use", f"{user.label} is to have the role {_shown(lost)}, which is to be absent.")
        unknown = sorted((user.roles or frozenset()) - set(observed.roles) - set(described)) if observed.roles is not None else []
        if unknown:
            raise MongodbError("unknown_role", f"{user.label}: the cluster knows no role {_shown(unknown)}.")


def _refuse_first(own: User | None, login: UserKey) -> None:
    """Refuse a first user that could not create the others."""
    if login[0] == EXTERNAL:
        raise MongodbError(
            "first_user_missing",
            "The cluster has no users yet, and its first one logs in with a password: run this once with login_user and login_password.",
        )
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


def _refuse_lock_out(own: User, observed: Observed) -> None:
    """Refuse what would shut ourselves out."""
    if own.state == "absent":
        raise MongodbError("drops_login_user", f"{own.label} is the account that is logged in; log in as another to remove it.")
    if own.roles is not None and not own.roles:
        raise MongodbError("locks_out_login_user", f"{own.label} is the account that is logged in; without roles nobody could undo it.")
    if own.restrictions and observed.client is not None and not admits(own.restrictions, observed.client):
        raise MongodbError(
            "locks_out_login_user",
            f"{own.label} is the account that is logged in, from {observed.client}, which its authentication_restrictions do not admit.",
        )


def _refuse_roles(desired: Description, observed: Observed) -> None:
    described = {role.key for role in desired.roles}
    present = observed.roles
    for role in desired.roles:
        state = (present or {}).get(role.key)
        if state is not None and state.builtin:
            raise MongodbError("builtin_role", f"Role {role.label} is one of the server's own: give yours another name.")
        if role.state == "absent":
            _refuse_loss(role, desired, observed)
            continue
        unknown = sorted((role.roles or frozenset()) - set(present) - described) if present is not None else []
        if unknown:
            raise MongodbError("unknown_role", f"Role {role.label}: the cluster knows no role {_shown(unknown)} to inherit.")
        held = frozenset().union(*(state.privileges.values() if state is not None else ()))
        asked = frozenset().union(*(role.privileges or {}).values()) - held - UNGRANTED_ACTIONS
        strange = sorted(asked - observed.actions) if observed.actions is not None else []
        if strange:
            raise MongodbError("unknown_action", f"Role {role.label}: privileges: the server knows no action {', '.join(strange)}.")


def _refuse_loss(role: CustomRole, desired: Description, observed: Observed) -> None:
    """Refuse to remove a role that we ourselves have, or that a user has who is not described: the server would take it away silently."""
    if role.key in observed.own_roles:
        raise MongodbError(
            "locks_out_login_user", f"Role {role.label} is one of the account that is logged in; log in as another to remove it."
        )
    settled = {user.key for user in desired.users if user.state == "absent" or user.roles is not None}
    if desired.unmanaged == "drop":
        settled |= set(unmanaged(desired, observed, None))
    holders = sorted(f"{key[0]}.{key[1]}" for key, roles in (observed.everybody or {}).items() if role.key in roles and key not in settled)
    if holders:
        raise MongodbError(
            "role_in_use", f"Role {role.label} cannot go: {', '.join(holders)} has it. List them under users with their roles."
        )


def _refuse_use(steps: Sequence[Step], observed: Observed) -> None:
    """Refuse to remove a user, or to replace its password, under connections that are logged in as it."""
    for step in steps:
        user = step.subject
        if not isinstance(user, User) or user.in_use != "refuse" or not (step.action == "drop_user" or "password" in step.changes):
            continue
        if observed.connections.get(user.key):
            raise in_use(user, observed.connections[user.key])


def in_use(user: User, connections: Sequence[str]) -> MongodbError:
    """Return the error that names who still uses an account; at most five, there may be hundreds."""
    shown = ", ".join(connections[:5]) + (f" and {len(connections) - 5} more" if len(connections) > 5 else "")
    return MongodbError("user_in_use", f"{user.label} is in use by {len(connections)} connections: {shown}.")


def picture(desired: Description, observed: Observed, steps: Sequence[Step]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (before, after) as plain data for a diff. Passwords show only as kept or replaced."""
    before, after = _picture_of_users(desired, observed, steps)
    if desired.roles:
        before["custom_roles"], after["custom_roles"] = _picture_of_roles(desired, observed)
    return before, after


def _picture_of_users(desired: Description, observed: Observed, steps: Sequence[Step]) -> tuple[dict[str, Any], dict[str, Any]]:
    planned = {step.subject.key: step for step in steps if step.action in ("create_user", "update_user", "drop_user") and not step.first}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for user in desired.users:
        account = (observed.accounts or {}).get(user.key)
        present = _shown_user(user, account.roles, account.mechanisms, account.restrictions, account.custom_data) if account else None
        if present is not None:
            before[user.label] = present
        if user.state == "absent":
            continue
        step = planned.get(user.key)
        replaced = account is None or (step is not None and "password" in step.changes)
        known = account or Account()
        wanted = _shown_user(
            user,
            user.roles if user.roles is not None else known.roles,
            user.mechanisms if user.mechanisms is not None else known.mechanisms,
            user.restrictions if user.restrictions is not None else known.restrictions,
            user.custom_data if user.custom_data is not None else known.custom_data,
        )
        after[user.label] = {**wanted, **({"password": "(replaced)"} if replaced and user.database != EXTERNAL else {})}
    for step in steps:
        if step.action == "drop_user" and step.subject.label not in before:
            before[step.subject.label] = {"roles": _names((observed.everybody or {}).get((step.subject.database, step.subject.name), ()))}
    return {"users": before}, {"users": after}


def _shown_user(
    user: User,
    roles: Iterable[Role],
    mechanisms: Iterable[str],
    restrictions: Iterable[Restriction] | None,
    custom_data: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return one user for a diff: only what the description speaks of, so that nothing is shown that cannot change."""
    shown: dict[str, Any] = {"roles": _names(roles), **({} if user.database == EXTERNAL else {"password": "(kept)"})}
    if user.mechanisms is not None:
        shown["mechanisms"] = sorted(mechanisms)
    if user.restrictions is not None:
        shown["authentication_restrictions"] = restrictions_document(restrictions or ())
    if user.custom_data is not None:
        shown["custom_data"] = dict(custom_data or {})
    return shown


def _picture_of_roles(desired: Description, observed: Observed) -> tuple[dict[str, Any], dict[str, Any]]:
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for role in desired.roles:
        state = (observed.roles or {}).get(role.key)
        if state is not None:
            before[role.label] = _shown_role(state)
        if role.state == "present":
            known = state or RoleState()
            after[role.label] = _shown_role(
                RoleState(
                    role.roles if role.roles is not None else known.roles,
                    role.privileges if role.privileges is not None else known.privileges,
                    role.restrictions if role.restrictions is not None else known.restrictions,
                )
            )
    return before, after


def _shown_role(state: RoleState) -> dict[str, Any]:
    return {
        "privileges": privileges_document(state.privileges),
        "roles": _names(state.roles),
        "authentication_restrictions": restrictions_document(state.restrictions),
    }


def _names(roles: Iterable[Role]) -> list[str]:
    return sorted(f"{role}@{database}" for role, database in roles)


def _shown(roles: Iterable[Role]) -> str:
    return ", ".join(f"{role}@{database}" for role, database in roles)
