#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the users of a MongoDB cluster as described."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_users
short_description: Keep the users of a MongoDB cluster as described
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares a list of users with the cluster over one connection, and creates, changes and removes what differs.
  - A changed password is found by recomputing the stored SCRAM credentials, or, where the account may not read them, by one login. So
    an unchanged run writes nothing and reports no change.
  - While the cluster has no users at all, O(login_user) is created first, through the server's localhost exception, and the others
    after logging in with it. For that the module has to run on the primary, with a loopback O(login_host).
  - Users that are not listed are left alone.
options:
  users:
    description:
      - The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
        aliases: [user]
      database:
        description: The database that holds the user (its authSource).
        type: str
        default: admin
        aliases: [db]
      password:
        description: The password. When not given, that of an existing user stays as it is; a new user needs one.
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
seealso:
  - module: linda.ops.mongodb_replset
"""

EXAMPLES = r"""
- name: The administrator, the application's user, and a reader whose password is kept elsewhere
  linda.ops.mongodb_users:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    users:
      - name: admin
        password: "{{ mongodb_admin_password }}"
        roles: [root]
      - name: application
        password: "{{ mongodb_application_password }}"
        roles:
          - role: readWrite
            db: linda
      - name: reader
        roles:
          - role: read
            db: linda
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
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(login_failed), V(first_user_missing),
    V(password_missing), V(unknown_role), V(duplicate_user), V(not_primary), V(no_set) or V(not_running).
  returned: failure
  type: str
  sample: login_failed
"""

from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    MAJORITY,
    Cluster,
    Link,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_scram import password_matches
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_plan import (
    Account,
    Observed,
    Step,
    User,
    UserKey,
    parse_users,
    picture,
    plan,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str"},
    "users": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True, "aliases": ["user"]},
            "database": {"type": "str", "default": "admin", "aliases": ["db"]},
            "password": {"type": "str", "no_log": True, "aliases": ["pass"]},
            "roles": {"type": "list", "elements": "raw"},
            "state": {"type": "str", "default": "present", "choices": ["absent", "present"]},
            "update_password": {"type": "str", "default": "always", "choices": ["always", "on_create"], "no_log": False},
        },
    },
}


def observe(cluster: Cluster, users: Sequence[User], *, check_mode: bool) -> Observed:
    """Read the described users and the roles they are to have; two commands, and a login for each password we may not read."""
    if cluster.state == "no_set" and not check_mode:
        raise MongodbError("no_set", f"{cluster.entry.host} belongs to no replica set yet: initiate it first (linda.ops.mongodb_replset).")
    if cluster.state in ("no_set", "no_users"):
        if not check_mode and cluster.state == "no_users":
            cluster.primary()
        return Observed(accounts=None)
    link = cluster.member if check_mode else cluster.primary()
    wanted = [{"user": user.name, "db": user.database} for user in users]
    found = _users_info(link, wanted) if wanted else []
    accounts: dict[UserKey, Account] = {}
    by_key = {(one["db"], one["user"]): one for one in found}
    for user in users:
        document = by_key.get(user.key)
        if document is None:
            continue
        roles = frozenset((role["role"], role["db"]) for role in document.get("roles", []))
        matches = None
        if user.password is not None and user.state == "present" and user.update == "always":
            matches = password_matches(user.name, user.password, document.get("credentials", {}))
            if matches is None and user.database != "$external":
                matches = cluster.can_log_in(user.name, user.password, user.database)
        accounts[user.key] = Account(roles, matches)
    asked = sorted({role for user in users for role in user.roles or ()})
    known = link.command("rolesInfo", [{"role": role, "db": database} for role, database in asked])["roles"] if asked else []
    return Observed(accounts, frozenset((one["role"], one["db"]) for one in known))


def _users_info(link: Link, wanted: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the server's documents of the users, with credentials where we may see them."""
    try:
        answer = link.command("usersInfo", wanted, showCredentials=True)
    except MongodbError as error:
        if error.code != "not_authorized":
            raise
        answer = link.command("usersInfo", wanted)
    return list(answer["users"])


def carry_out(link: Link, step: Step) -> None:
    """Send the one command of a step and wait until the majority has it."""
    user = step.user
    fields: dict[str, Any] = {"writeConcern": MAJORITY}
    if "password" in step.changes and user.password is not None:
        fields["pwd"] = user.password
    if "roles" in step.changes:
        fields["roles"] = [{"role": role, "db": database} for role, database in sorted(user.roles or ())]
    command = {"create_user": "createUser", "update_user": "updateUser", "drop_user": "dropUser"}[step.action]
    link.command(command, user.name, database=user.database, **fields)


def converge(cluster: Cluster, users: Sequence[User], result: dict[str, Any], *, check_mode: bool) -> None:
    """Read, plan, apply; after the first user of a cluster log in and begin again. ``result`` is filled as it goes."""
    first_round = True
    while True:
        observed = observe(cluster, users, check_mode=check_mode)
        steps = plan(users, observed, cluster.options.key)
        if first_round:
            record(result, users, observed, steps)
        if check_mode or not steps:
            return
        first_round = False
        for step in steps[:1] if observed.accounts is None else steps:
            carry_out(cluster.primary(), step)
            result["steps_done"].append(step.describe())
            result["changed"] = True
        if observed.accounts is not None:
            return
        cluster.refresh()


def record(result: dict[str, Any], users: Sequence[User], observed: Observed, steps: Sequence[Step]) -> None:
    """Put the plan and the diff into the result."""
    before, after = picture(users, observed.accounts, steps)
    result["plan"] = [step.describe() for step in steps]
    result["diff"] = {"before": before, "after": after}


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    users = parse_users(module.params["users"])
    login = Login.from_params(module.params)
    try:
        with Cluster(login) as cluster:
            result["state"] = cluster.state
            name = cluster.hello.get("setName")
            wanted = module.params["replica_set"]
            if wanted and name and wanted != name:
                raise MongodbError("wrong_set", f"{cluster.entry.host} belongs to replica set {name!r}, not {wanted!r}.")
            converge(cluster, users, result, check_mode=module.check_mode)
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running"):
            raise
        result["state"] = error.code
        record(result, users, Observed(None), plan(users, Observed(None), login.key))
    if module.check_mode:
        result["changed"] = bool(result["plan"])


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
