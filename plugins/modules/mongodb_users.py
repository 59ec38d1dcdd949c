#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the users and custom roles of a MongoDB cluster as described."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_users
short_description: Keep the users and custom roles of a MongoDB cluster as described
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares a list of users and a list of roles with the cluster over one connection, and creates, changes and removes what differs.
  - A changed password is found by recomputing the stored SCRAM credentials, or, where the account may not read them, by one login. So
    an unchanged run writes nothing and reports no change.
  - While the cluster has no users at all, O(login_user) is created first, through the server's localhost exception, and the others
    after logging in with it. For that the module has to run on the primary, with a loopback O(login_host).
  - New and changed roles come before the users, removed roles after them. What the account that is logged in has itself comes last.
  - Users that are not listed are left alone, unless O(unmanaged) says otherwise. Roles that are not listed are always left alone.
options:
  users:
    description:
      - The users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the user. In the database V($external) it is the subject of the user's certificate as RFC 2253 writes it, such as
            V(CN=app,OU=clients,O=Example), which is what C(openssl x509 -noout -subject -nameopt RFC2253) prints.
        type: str
        required: true
        aliases: [user]
      database:
        description: The database that holds the user (its authSource). V($external) for a user that logs in by a certificate.
        type: str
        default: admin
        aliases: [db]
      password:
        description:
          - The password. When not given, that of an existing user stays as it is; a new user needs one. Not for users of V($external).
        type: str
        aliases: [pass]
      roles:
        description:
          - All roles of the user, each a name (a role of O(users[].database)) or a mapping of C(role) and C(db).
          - When not given, the roles of an existing user stay as they are; an empty list takes all away.
        type: list
        elements: raw
      state:
        description: Whether the user exists.
        type: str
        default: present
        choices: [absent, present]
      update_password:
        description: V(always) replaces a password that differs, V(on_create) sets it for a new user only.
        type: str
        default: always
        choices: [always, on_create]
      mechanisms:
        description:
          - All SCRAM mechanisms by which the user may log in. When not given they stay, also when the password is replaced.
          - To add one, the server needs O(users[].password).
        type: list
        elements: str
        choices: [SCRAM-SHA-1, SCRAM-SHA-256]
      authentication_restrictions:
        description:
          - From where the user may log in; one entry that fits is enough. When not given they stay; an empty list takes all away.
        type: list
        elements: dict
        aliases: [authenticationRestrictions]
        suboptions: &restriction
          clientSource:
            description: Networks in CIDR form, or addresses, of which one must be the client's.
            type: list
            elements: str
          serverAddress:
            description: Networks in CIDR form, or addresses, of which one must be the server's end of the connection.
            type: list
            elements: str
      custom_data:
        description: What else the cluster is to remember of the user. Nothing secret. When not given it stays.
        type: dict
        aliases: [customData]
      in_use:
        description:
          - What to do before the user is removed, or its password replaced, while a connection to any member is logged in as it.
          - V(refuse) fails and names the connections. V(wait) waits for them to end for at most O(timeout) seconds, then fails likewise.
            Both ask for the privilege C(inprog), as in the role C(clusterMonitor).
        type: str
        default: allow
        choices: [allow, refuse, wait]
  custom_roles:
    description:
      - The roles of your own that are to exist, or not. O(users[].roles) may name them.
      - Inherited roles are compared as they are given, privileges by resource.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
        aliases: [role]
      database:
        description: The database that holds the role. Outside of V(admin) a role can have privileges on its own database only.
        type: str
        default: admin
        aliases: [db]
      privileges:
        description: All privileges. When not given, those of an existing role stay; an empty list takes all away.
        type: list
        elements: dict
        suboptions:
          resource:
            description:
              - What it is about, as the server writes it, a mapping of C(db) and C(collection) (an empty text means any), or
                C(cluster) with V(true), or C(anyResource) with V(true).
            type: dict
            required: true
          actions:
            description: What may be done with it.
            type: list
            elements: str
            required: true
      roles:
        description: All roles that it inherits, written like O(users[].roles). When not given they stay; an empty list takes all away.
        type: list
        elements: raw
      authentication_restrictions:
        description: From where those who have the role may log in. When not given they stay; an empty list takes all away.
        type: list
        elements: dict
        aliases: [authenticationRestrictions]
        suboptions: *restriction
      state:
        description:
          - Whether the role exists. One that a user has, who is not described here, is not removed.
        type: str
        default: present
        choices: [absent, present]
  unmanaged:
    description:
      - What to do with users that O(users) does not list. V(report) returns and warns of them, V(drop) removes them.
      - The account that is logged in and the server's own C(__system) are never removed.
    type: str
    default: keep
    choices: [keep, report, drop]
  unmanaged_allowed:
    description:
      - Users outside of O(users) that are expected, each as C(database.name). They are neither reported nor removed.
    type: list
    elements: str
    default: []
  replica_set:
    description:
      - The name of the set the server must belong to. Not checked when not given.
    type: str
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads and plans; no command that writes is sent.
  diff_mode:
    support: full
    description: Shows users and roles before and after; of a password only whether it is replaced.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
notes:
  - Coming from C(community.mongodb.mongodb_user) or C(community.mongodb.mongodb_role), put the options of the user or role into one
    entry of O(users) or O(custom_roles). They have the same names there, apart from C(create_for_localhost_exception), which is not needed.
seealso:
  - module: linda.ops.mongodb_replset
"""

EXAMPLES = r"""
- name: The administrator, the application's user with a role of its own, and a reader who logs in by a certificate
  linda.ops.mongodb_users:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    custom_roles:
      - name: messages_writer
        privileges:
          - resource: {db: linda, collection: messages}
            actions: [find, insert, update]
    users:
      - name: admin
        password: "{{ mongodb_admin_password }}"
        roles: [root]
      - name: application
        password: "{{ mongodb_application_password }}"
        roles: [messages_writer]
        mechanisms: [SCRAM-SHA-256]
        authentication_restrictions:
          - clientSource: [192.0.2.0/24]
      - name: CN=reader,OU=clients,O=Example
        database: $external
        roles:
          - role: read
            db: linda
  run_once: true

- name: Remove an account once nothing is logged in as it any more, and show who else is there
  linda.ops.mongodb_users:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    users:
      - name: application_old
        state: absent
        in_use: wait
    unmanaged: report
    unmanaged_allowed: [admin.auditor]
    timeout: 120
  run_once: true
"""

RETURN = r"""
state:
  description: >-
    What was found: V(not_running) and V(no_driver) and V(no_set) (check mode only), V(no_users), V(standalone) or V(ready).
  returned: success
  type: str
  sample: ready
plan:
  description: The commands from what was found to the description.
  returned: always
  type: list
  elements: dict
  sample:
    - action: update_user
      user: application
      database: admin
      reason: change roles of admin.application
steps_done:
  description: The commands that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
unmanaged:
  description: The users that are neither described nor allowed, as they were found.
  returned: when O(unmanaged) is V(report) or V(drop) and the cluster could be asked
  type: list
  elements: str
  sample: [admin.somebody]
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(login_failed), V(first_user_missing),
    V(password_missing), V(unknown_role), V(unknown_action), V(role_in_use), V(user_in_use), V(duplicate_user), V(not_primary), V(no_set)
    or V(not_running).
  returned: failure
  type: str
  sample: login_failed
"""

import time
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    MAJORITY,
    POLL_SECONDS,
    Cluster,
    Link,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_scram import password_matches
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_plan import (
    Account,
    Description,
    Observed,
    RoleState,
    Step,
    in_use,
    picture,
    plan,
    unmanaged,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_spec import (
    EXTERNAL,
    CustomRole,
    Role,
    User,
    UserKey,
    parse_custom_roles,
    parse_privileges,
    parse_users,
    privileges_document,
    restrictions_document,
    seen_restrictions,
)

RESTRICTIONS: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "aliases": ["authenticationRestrictions"],
    "options": {"clientSource": {"type": "list", "elements": "str"}, "serverAddress": {"type": "list", "elements": "str"}},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str"},
    "unmanaged": {"type": "str", "default": "keep", "choices": ["keep", "report", "drop"]},
    "unmanaged_allowed": {"type": "list", "elements": "str", "default": []},
    "users": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True, "aliases": ["user"]},
            "database": {"type": "str", "default": "admin", "aliases": ["db"]},
            "password": {"type": "str", "no_log": True, "aliases": ["pass"]},
            "roles": {"type": "list", "elements": "raw"},
            "state": {"type": "str", "default": "present", "choices": ["absent", "present"]},
            "update_password": {"type": "str", "default": "always", "choices": ["always", "on_create"], "no_log": False},
            "mechanisms": {"type": "list", "elements": "str", "choices": ["SCRAM-SHA-1", "SCRAM-SHA-256"]},
            "authentication_restrictions": RESTRICTIONS,
            "custom_data": {"type": "dict", "aliases": ["customData"]},
            "in_use": {"type": "str", "default": "allow", "choices": ["allow", "refuse", "wait"]},
        },
    },
    "custom_roles": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True, "aliases": ["role"]},
            "database": {"type": "str", "default": "admin", "aliases": ["db"]},
            "privileges": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "resource": {"type": "dict", "required": True},
                    "actions": {"type": "list", "elements": "str", "required": True},
                },
            },
            "roles": {"type": "list", "elements": "raw"},
            "authentication_restrictions": RESTRICTIONS,
            "state": {"type": "str", "default": "present", "choices": ["absent", "present"]},
        },
    },
}


def observe(cluster: Cluster, desired: Description, *, check_mode: bool) -> Observed:
    """Read what the description speaks of; a command for users, one for roles, one for each further question it raises.

    A login is tried for each password whose credentials we may not read.
    """
    if cluster.state == "no_set" and not check_mode:
        raise MongodbError("no_set", f"{cluster.entry.host} belongs to no replica set yet: initiate it first (linda.ops.mongodb_replset).")
    if cluster.state == "no_users" and not check_mode:
        cluster.primary()
    if cluster.state in ("no_set", "no_users"):
        local = any(user.restrictions and user.key == cluster.options.key for user in desired.users)
        return Observed(accounts=None, client=cluster.own_address() if local else None)
    link = cluster.member if check_mode else cluster.primary()
    own = cluster.identity()
    accounts = _accounts(cluster, link, desired.users)
    roles = _roles(link, desired)
    everybody = None
    if desired.unmanaged != "keep" or any(role.state == "absent" and role.key in roles for role in desired.roles):
        everybody = {
            (one["db"], one["user"]): frozenset((role["role"], role["db"]) for role in one.get("roles", []))
            for one in link.command("usersInfo", {"forAllDBs": True})["users"]
        }
    return Observed(
        accounts,
        roles,
        actions=_actions(link, desired.roles, roles),
        everybody=everybody,
        own_roles=frozenset((role["role"], role["db"]) for role in cluster.own_roles()) if own and desired.roles else frozenset(),
        client=cluster.own_address() if any(user.restrictions and user.key == own for user in desired.users) else None,
        connections={
            user.key: cluster.connections_of(*user.key) for user in desired.users if user.in_use == "refuse" and user.key in accounts
        },
    )


def _accounts(cluster: Cluster, link: Link, users: Sequence[User]) -> dict[UserKey, Account]:
    """Return the described users that exist."""
    wanted = [{"user": user.name, "db": user.database} for user in users]
    # The server looks up restrictions user by user, so they are asked for only where they are described.
    more = {"showAuthenticationRestrictions": True} if any(user.restrictions is not None for user in users) else {}
    found = {(one["db"], one["user"]): one for one in _users_info(link, wanted, **more)} if wanted else {}
    accounts: dict[UserKey, Account] = {}
    for user in users:
        document = found.get(user.key)
        if document is None:
            continue
        matches = None
        if user.password is not None and user.state == "present" and user.update == "always":
            matches = password_matches(user.name, user.password, document.get("credentials", {}))
            if matches is None and user.database != EXTERNAL:
                matches = cluster.can_log_in(user.name, user.password, user.database)
        accounts[user.key] = Account(
            roles=frozenset((role["role"], role["db"]) for role in document.get("roles", [])),
            password_matches=matches,
            mechanisms=frozenset(document.get("mechanisms", [])),
            restrictions=seen_restrictions(document["authenticationRestrictions"]) if "authenticationRestrictions" in document else None,
            custom_data=document.get("customData", {}),
        )
    return accounts


def _users_info(link: Link, wanted: list[dict[str, str]], **more: Any) -> list[dict[str, Any]]:
    """Return the server's documents of the users, with credentials where we may see them."""
    try:
        answer = link.command("usersInfo", wanted, showCredentials=True, **more)
    except MongodbError as error:
        if error.code != "not_authorized":
            raise
        answer = link.command("usersInfo", wanted, **more)
    return list(answer["users"])


def _roles(link: Link, desired: Description) -> dict[Role, RoleState]:
    """Return the roles that exist of those that the description names; of our own with their privileges."""
    held = {role for user in desired.users for role in user.roles or ()}
    inherited = {role for one in desired.roles for role in one.roles or ()}
    asked = sorted(held | inherited | {role.key for role in desired.roles})
    if not asked:
        return {}
    more: dict[str, Any] = {"showPrivileges": True, "showAuthenticationRestrictions": True} if desired.roles else {}
    found = link.command("rolesInfo", [{"role": role, "db": database} for role, database in asked], **more)["roles"]
    return {
        (one["role"], one["db"]): RoleState(
            roles=frozenset((role["role"], role["db"]) for role in one.get("roles", [])),
            privileges={} if one["isBuiltin"] else parse_privileges(one["role"], one.get("privileges", [])) or {},
            restrictions=seen_restrictions(one.get("authenticationRestrictions", [])),
            builtin=bool(one["isBuiltin"]),
        )
        for one in found
    }


def _actions(link: Link, wanted: Sequence[CustomRole], present: dict[Role, RoleState]) -> frozenset[str] | None:
    """Return the actions that the server's own roles have, None when no role asks for one that it does not have already."""
    for role in wanted:
        held = present[role.key].privileges if role.key in present else {}
        if frozenset().union(*(role.privileges or {}).values()) - frozenset().union(*held.values()):
            own = link.command("rolesInfo", 1, showBuiltinRoles=True, showPrivileges=True)["roles"]
            return frozenset(action for one in own for privilege in one.get("privileges", []) for action in privilege["actions"])
    return None


def carry_out(cluster: Cluster, step: Step) -> None:
    """Send the one command of a step and wait until the majority has it; or wait until nobody is logged in as a user."""
    subject = step.subject
    if step.action == "wait_unused" and isinstance(subject, User):
        wait_unused(cluster, subject)
        return
    fields = {} if step.action.startswith("drop") else _fields(step)
    verb, _under, kind = step.action.partition("_")
    cluster.primary().command(f"{verb}{kind.capitalize()}", subject.name, database=subject.database, **fields, writeConcern=MAJORITY)


def _fields(step: Step) -> dict[str, Any]:
    """Return what a command that creates or changes writes, in the server's form."""
    subject = step.subject
    creating = step.action.startswith("create")
    fields: dict[str, Any] = {}
    if creating or "roles" in step.changes:
        fields["roles"] = [{"role": role, "db": database} for role, database in sorted(subject.roles or ())]
    if "authentication_restrictions" in step.changes:
        fields["authenticationRestrictions"] = restrictions_document(subject.restrictions or ())
    if isinstance(subject, CustomRole):
        if creating or "privileges" in step.changes:
            fields["privileges"] = privileges_document(subject.privileges or {})
        return fields
    if step.with_password:
        fields["pwd"] = subject.password
    if step.mechanisms is not None:
        fields["mechanisms"] = sorted(step.mechanisms)
    if "custom_data" in step.changes:
        fields["customData"] = dict(subject.custom_data or {})
    return fields


def wait_unused(cluster: Cluster, user: User) -> None:
    """Wait until no connection is logged in as a user.

    :raises MongodbError: ``user_in_use`` after the time-out.
    """
    deadline = time.monotonic() + cluster.options.timeout
    while connections := cluster.connections_of(*user.key):
        if time.monotonic() > deadline:
            raise in_use(user, connections)
        time.sleep(POLL_SECONDS)


def converge(cluster: Cluster, desired: Description, result: dict[str, Any], *, check_mode: bool) -> None:
    """Read, plan, apply; after the first user of a cluster log in and begin again. ``result`` is filled as it goes."""
    first_round = True
    while True:
        observed = observe(cluster, desired, check_mode=check_mode)
        login = cluster.identity()
        steps = plan(desired, observed, login)
        if first_round:
            record(result, desired, observed, steps, login)
        if check_mode or not steps:
            return
        first_round = False
        for step in steps[:1] if observed.accounts is None else steps:
            carry_out(cluster, step)
            result["steps_done"].append(step.describe())
            result["changed"] = True
        if observed.accounts is not None:
            return
        cluster.refresh()


def record(result: dict[str, Any], desired: Description, observed: Observed, steps: Sequence[Step], login: UserKey | None) -> None:
    """Put the plan and the diff into the result."""
    before, after = picture(desired, observed, steps)
    result["plan"] = [step.describe() for step in steps]
    result["diff"] = {"before": before, "after": after}
    if desired.unmanaged != "keep" and observed.everybody is not None:
        result["unmanaged"] = [f"{database}.{name}" for database, name in unmanaged(desired, observed, login)]


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    params = module.params
    desired = Description(
        parse_users(params["users"]),
        parse_custom_roles(params["custom_roles"]),
        params["unmanaged"],
        frozenset(params["unmanaged_allowed"]),
    )
    login = Login.from_params(params)
    try:
        with Cluster(login) as cluster:
            result["state"] = cluster.state
            name = cluster.hello.get("setName")
            wanted = params["replica_set"]
            if wanted and name and wanted != name:
                raise MongodbError("wrong_set", f"{cluster.entry.host} belongs to replica set {name!r}, not {wanted!r}.")
            converge(cluster, desired, result, check_mode=module.check_mode)
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running"):
            raise
        result["state"] = error.code
        nothing = Observed(None)
        record(result, desired, nothing, plan(desired, nothing, login.key), login.key)
    if module.check_mode:
        result["changed"] = bool(result["plan"])
    if desired.unmanaged == "report" and result.get("unmanaged"):
        module.warn(f"Users that are neither described nor allowed: {', '.join(result['unmanaged'])}.")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": []}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
