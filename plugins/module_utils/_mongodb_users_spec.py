# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the description of the users and custom roles of a MongoDB cluster, and refuse what cannot be meant. Pure: no input, no output.

Both sides are brought to one form here, so that the planner only compares: sets where the server keeps no order, actions on one
resource in one entry, networks written the shortest way.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_scram import MECHANISMS, saslprep

Role = tuple[str, str]  # (role, database)
UserKey = tuple[str, str]  # (database, name)
Resource = tuple[str, ...]  # ("cluster",), ("any",), ("collection", database, name) or ("system_buckets", database, name)
Privileges = Mapping[Resource, frozenset[str]]
# One entry admits a connection that comes from one of the first and to one of the second; an empty set does not ask.
Restriction = tuple[frozenset[str], frozenset[str]]

EXTERNAL = "$external"
_FLAGS = {"cluster": "cluster", "anyResource": "any"}
_NAMED = {"collection": "collection", "system_buckets": "system_buckets"}


@dataclass(frozen=True)
class User:
    """One described user. None means: leave it as it is. An empty set of roles or restrictions takes all away.

    ``update`` is ``always`` or ``on_create``: when the password is written. ``in_use`` is ``allow``, ``refuse`` or ``wait``: what to do
    when the user is to be removed, or its password replaced, while connections are logged in as it.
    """

    name: str
    database: str = "admin"
    password: str | None = field(default=None, repr=False)
    roles: frozenset[Role] | None = None
    state: str = "present"
    update: str = "always"
    mechanisms: frozenset[str] | None = None
    restrictions: frozenset[Restriction] | None = None
    custom_data: Mapping[str, Any] | None = None
    in_use: str = "allow"

    @property
    def key(self) -> UserKey:
        """Return what identifies the user in the cluster."""
        return (self.database, self.name)

    @property
    def label(self) -> str:
        """Return the user as the server writes it: database.name."""
        return f"{self.database}.{self.name}"


@dataclass(frozen=True)
class CustomRole:
    """One described role of our own. None means: leave it as it is; an empty set takes all away."""

    name: str
    database: str = "admin"
    privileges: Privileges | None = None
    roles: frozenset[Role] | None = None
    restrictions: frozenset[Restriction] | None = None
    state: str = "present"

    @property
    def key(self) -> Role:
        """Return what identifies the role in the cluster."""
        return (self.name, self.database)

    @property
    def label(self) -> str:
        """Return the role as lists of roles show it: name@database."""
        return f"{self.name}@{self.database}"


# ---------------------------------------------------------------------------------------------------------------------- roles


def parse_roles(label: str, database: str, raw: Iterable[Any] | None) -> frozenset[Role] | None:
    """Read a list of roles; a bare name means the role of the owner's own database.

    :raises MongodbError: ``bad_role``.
    """
    if raw is None:
        return None
    roles: set[Role] = set()
    for role in raw:
        if isinstance(role, str) and role.strip():
            if database == EXTERNAL:
                raise MongodbError("bad_role", f"{label}: role {role!r} needs its database: write {{role: {role}, db: admin}}.")
            roles.add((role.strip(), database))
        elif isinstance(role, Mapping) and set(role) == {"role", "db"} and all(isinstance(part, str) and part for part in role.values()):
            roles.add((role["role"], role["db"]))
        else:
            raise MongodbError("bad_role", f"{label}: role {role!r} is neither a name nor a mapping of role and db.")
    return frozenset(roles)


def parse_privileges(label: str, raw: Iterable[Any] | None) -> Privileges | None:
    """Read a list of privileges as the server takes and gives them; several on one resource become one.

    :raises MongodbError: ``bad_privilege``.
    """
    if raw is None:
        return None
    found: dict[Resource, frozenset[str]] = {}
    for privilege in raw:
        if not isinstance(privilege, Mapping) or set(privilege) != {"resource", "actions"}:
            raise MongodbError("bad_privilege", f"{label}: privilege {privilege!r} is not a mapping of resource and actions.")
        resource, actions = parse_resource(label, privilege["resource"]), privilege["actions"]
        if (
            not isinstance(actions, Sequence)
            or isinstance(actions, str)
            or not actions
            or not all(isinstance(action, str) and action for action in actions)
        ):
            raise MongodbError("bad_privilege", f"{label}: actions = {actions!r} is not a list of names with at least one in it.")
        found[resource] = found.get(resource, frozenset()) | frozenset(actions)
    return found


def parse_resource(label: str, raw: Any) -> Resource:
    """Read what a privilege is about: ``{db, collection}`` (empty texts mean any), ``{cluster: true}`` or ``{anyResource: true}``.

    :raises MongodbError: ``bad_privilege``.
    """
    if isinstance(raw, Mapping):
        for flag, short in _FLAGS.items():
            if set(raw) == {flag} and raw[flag] is True:
                return (short,)
        for kind in _NAMED:
            if set(raw) == {"db", kind} and all(isinstance(part, str) for part in raw.values()):
                return (kind, raw["db"], raw[kind])
    raise MongodbError(
        "bad_privilege",
        f"{label}: resource = {raw!r} is none of {{db: ..., collection: ...}} (an empty text means any), {{cluster: true}} and "
        "{anyResource: true}.",
    )


def privileges_document(privileges: Privileges) -> list[dict[str, Any]]:
    """Return privileges in the server's form, in a fixed order."""
    flags = {short: flag for flag, short in _FLAGS.items()}
    return [
        {
            "resource": {flags[resource[0]]: True} if resource[0] in flags else {"db": resource[1], resource[0]: resource[2]},
            "actions": sorted(actions),
        }
        for resource, actions in sorted(privileges.items())
    ]


def parse_custom_roles(raw: Sequence[Mapping[str, Any]]) -> tuple[CustomRole, ...]:
    """Read and check the ``custom_roles`` option.

    :raises MongodbError: ``bad_role``, ``bad_privilege``, ``bad_restriction``, ``duplicate_role`` or ``role_cycle``.
    """
    roles: list[CustomRole] = []
    for entry in raw:
        name, database = entry.get("name") or "", entry.get("database") or "admin"
        if not name or "\0" in name or database == EXTERNAL or not _may_hold(database):
            raise MongodbError("bad_role", f"Role {name!r} in database {database!r}: the name is empty or the database cannot hold roles.")
        label = f"Role {name}@{database}"
        role = CustomRole(
            name=name,
            database=database,
            privileges=parse_privileges(label, entry.get("privileges")),
            roles=parse_roles(label, database, entry.get("roles")),
            restrictions=parse_restrictions(label, entry.get("authentication_restrictions")),
            state=entry.get("state") or "present",
        )
        _refuse_foreign(role, label)
        roles.append(role)
    keys = [role.key for role in roles]
    twice = sorted({role.label for role in roles if keys.count(role.key) > 1})
    if twice:
        raise MongodbError("duplicate_role", f"custom_roles: {', '.join(twice)} is listed more than once.")
    inheritance_order({role.key: role.roles or frozenset() for role in roles if role.state == "present"})
    _refuse_absent(roles)
    return tuple(roles)


def _refuse_foreign(role: CustomRole, label: str) -> None:
    """Refuse what only a role of the database admin may hold."""
    if role.database == "admin":
        return
    for resource in role.privileges or {}:
        if len(resource) < 3 or resource[1] != role.database:
            raise MongodbError(
                "bad_privilege",
                f"{label}: a role outside of the database admin can have privileges on its own database only: move it there.",
            )
    foreign = sorted(f"{name}@{database}" for name, database in role.roles or () if database != role.database)
    if foreign:
        raise MongodbError(
            "bad_role", f"{label}: a role outside of the database admin cannot inherit {', '.join(foreign)} of another: move it there."
        )


def _refuse_absent(roles: Sequence[CustomRole]) -> None:
    gone = {role.key for role in roles if role.state == "absent"}
    for role in roles:
        lost = sorted((role.roles or frozenset()) & gone) if role.state == "present" else []
        if lost:
            raise MongodbError("role_in_use", f"Role {role.label} is to inherit {_shown(lost)}, which is to be absent.")


def inheritance_order(parents: Mapping[Role, Iterable[Role]]) -> list[Role]:
    """Return the roles so that each comes after those it inherits; roles of equal rank keep the order given.

    :raises MongodbError: ``role_cycle``.
    """
    order: list[Role] = []
    path: list[Role] = []

    def visit(role: Role) -> None:
        if role in order or role not in parents:
            return
        if role in path:
            raise MongodbError("role_cycle", f"custom_roles: {_shown([*path[path.index(role) :], role], ' > ')} inherits itself.")
        path.append(role)
        for parent in sorted(parents[role]):
            visit(parent)
        path.pop()
        order.append(role)

    for role in parents:
        visit(role)
    return order


def _shown(roles: Iterable[Role], between: str = ", ") -> str:
    return between.join(f"{name}@{database}" for name, database in roles)


# ---------------------------------------------------------------------------------------------------------------------- users


def parse_restrictions(label: str, raw: Any) -> frozenset[Restriction] | None:
    """Read authentication restrictions: a list of ``{clientSource: [...], serverAddress: [...]}``, one of the two at least in each.

    Networks are CIDR or single addresses, of both families.

    :raises MongodbError: ``bad_restriction``.
    """
    if raw is None:
        return None
    found: set[Restriction] = set()
    for entry in raw:
        given = {name: value for name, value in entry.items() if value is not None} if isinstance(entry, Mapping) else {}
        if not given or not set(given) <= {"clientSource", "serverAddress"}:
            raise MongodbError(
                "bad_restriction",
                f"{label}: authentication_restrictions: {entry!r} is not a mapping of clientSource, serverAddress, or both.",
            )
        sources, targets = (_networks(label, name, given.get(name)) for name in ("clientSource", "serverAddress"))
        found.add((sources, targets))
    return frozenset(found)


def _networks(label: str, name: str, raw: Any) -> frozenset[str]:
    if raw is None:
        return frozenset()
    values = [raw] if isinstance(raw, str) else raw
    if not isinstance(values, Sequence) or not values:
        raise MongodbError("bad_restriction", f"{label}: {name} = {raw!r} is not a list of networks; leave it out to admit any.")
    return frozenset(_network(label, name, value) for value in values)


def _network(label: str, name: str, value: Any) -> str:
    """Return a network in its shortest form: a single address without its length."""
    try:
        network = ipaddress.ip_network(value)
    except (ValueError, TypeError) as error:
        raise MongodbError("bad_restriction", f"{label}: {name} = {value!r} is no network in CIDR form ({error}).") from None
    return str(network.network_address if network.num_addresses == 1 else network)


def seen_restrictions(raw: Any) -> frozenset[Restriction]:
    """Read the restrictions of a ``usersInfo`` or ``rolesInfo`` document; networks written loosely there count as their network."""
    entries = [one for entry in raw or () for one in (entry if isinstance(entry, list) else [entry])]

    def networks(values: Iterable[str]) -> frozenset[str]:
        found: set[str] = set()
        for value in values:
            network = ipaddress.ip_network(value, strict=False)
            found.add(str(network.network_address if network.num_addresses == 1 else network))
        return frozenset(found)

    return frozenset((networks(entry.get("clientSource", ())), networks(entry.get("serverAddress", ()))) for entry in entries)


def restrictions_document(restrictions: Iterable[Restriction]) -> list[dict[str, list[str]]]:
    """Return restrictions in the server's form, in a fixed order."""
    documents = []
    for sources, targets in sorted(restrictions, key=lambda one: (sorted(one[0]), sorted(one[1]))):
        parts = {"clientSource": sorted(sources), "serverAddress": sorted(targets)}
        documents.append({name: values for name, values in parts.items() if values})
    return documents


def admits(restrictions: Iterable[Restriction], address: str) -> bool:
    """Tell whether a client at ``address`` may log in under these restrictions; a demand on the server's own address counts as met."""
    wanted = ipaddress.ip_address(address)
    entries = list(restrictions)
    return not entries or any(not sources or any(wanted in ipaddress.ip_network(one) for one in sources) for sources, _targets in entries)


def parse_users(raw: Sequence[Mapping[str, Any]]) -> tuple[User, ...]:
    """Read and check the ``users`` option.

    :raises MongodbError: ``bad_user``, ``bad_role``, ``bad_restriction`` or ``duplicate_user``.
    """
    users: list[User] = []
    for entry in raw:
        name, database = entry.get("name") or "", entry.get("database") or "admin"
        if not name or "\0" in name or not _may_hold(database):
            raise MongodbError("bad_user", f"User {name!r} in database {database!r}: the name is empty or the database cannot hold users.")
        label = f"User {database}.{name}"
        mechanisms = entry.get("mechanisms")
        user = User(
            name=name,
            database=database,
            password=entry.get("password"),
            roles=parse_roles(label, database, entry.get("roles")),
            state=entry.get("state") or "present",
            update=entry.get("update_password") or "always",
            mechanisms=None if mechanisms is None else frozenset(mechanisms),
            restrictions=parse_restrictions(label, entry.get("authentication_restrictions")),
            custom_data=entry.get("custom_data"),
            in_use=entry.get("in_use") or "allow",
        )
        _check_login(user, label)
        users.append(user)
    keys = [user.key for user in users]
    twice = sorted({user.label for user in users if keys.count(user.key) > 1})
    if twice:
        raise MongodbError("duplicate_user", f"{', '.join(twice)} is listed more than once.")
    return tuple(users)


def _may_hold(database: str) -> bool:
    """Tell whether a database can hold users and roles."""
    return database == EXTERNAL or (database != "local" and not any(char in database for char in '\0/\\. "$'))


def _check_login(user: User, label: str) -> None:
    """Refuse ways of logging in that cannot work."""
    if user.database == EXTERNAL:
        _check_subject(user, label)
        return
    if user.password == "":
        raise MongodbError("bad_user", f"{label}: the password is empty. Leave it out to keep the present one.")
    if user.mechanisms is not None and (not user.mechanisms or not user.mechanisms <= set(MECHANISMS)):
        raise MongodbError(
            "bad_user", f"{label}: mechanisms = {sorted(user.mechanisms)} is not one or both of {', '.join(sorted(MECHANISMS))}."
        )
    if user.password is not None and user.mechanisms != frozenset({"SCRAM-SHA-1"}):
        try:
            saslprep(user.password)
        except ValueError as error:
            raise MongodbError("bad_user", f"{label}: {error}. SCRAM-SHA-256 needs that; choose another password.") from None


def _check_subject(user: User, label: str) -> None:
    """A user of ``$external`` logs in by its certificate; its name is the subject as RFC 2253 writes it, letter by letter."""
    for given, option in ((user.password, "password"), (user.mechanisms, "mechanisms")):
        if given is not None:
            raise MongodbError("bad_user", f"{label}: {option} is given, but a user of $external logs in by its certificate.")
    if user.state == "present" and (re.search(r"(?<!\\)[,+]\s|\s=|=\s|^\s*/", user.name) or not re.match(r"[A-Za-z0-9.]+=", user.name)):
        raise MongodbError(
            "bad_user",
            f"{label}: the name is no subject as MongoDB reads it from a certificate, such as CN=app,OU=clients,O=Example: write it as "
            "openssl x509 -noout -subject -nameopt RFC2253 prints it, without the word subject=.",
        )
