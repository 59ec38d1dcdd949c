#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring a running MongoDB server to its configuration as far as it goes without a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_parameters
short_description: Bring a running MongoDB server to its configuration as far as it goes without a restart
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares the configuration that a server should have with what it goes by now, over one connection, and changes online what can be
    changed online. Everything else is reported in RV(restart_required) with both values; the module never restarts anything.
  - What counts is the value in force, as C(getParameter), C(profile), C(serverStatus) and the size of the oplog tell it. Only for the rest
    it is the configuration that the server was started with (C(getCmdLineOpts)).
  - Changed online are the slow-query threshold, its sample rate and the profiler's level of every database, size and least retention of
    the oplog, the cache's size, the log's levels and C(quiet), and every C(setParameter) that the server says it takes at run time.
    Servers before MongoDB 6.0 do not say so; there a C(setParameter) asks for a restart.
  - A setting that the configuration does not name is brought back to the server's default where it can be changed online. The sizes of
    oplog and cache have no such default and are then left alone.
  - The module writes no file. The same settings belong into C(mongod.conf), for the next start.
options:
  configuration:
    description:
      - The whole configuration of the server in the shape of C(mongod.conf).
    type: dict
    required: true
  version:
    description:
      - The version of the server that should run, as the package names it. Another one that runs asks for a restart.
      - Not compared when not given.
    type: str
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads and plans; no command that changes anything is sent.
  diff_mode:
    support: full
    description: Shows every setting that differs; one that waits for a restart says so. Passwords are not shown.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the server can be reached.
notes:
  - Works on the one server that O(login_host) and O(login_port) name, primary or not, since these settings are each server's own.
  - The account needs the role C(clusterAdmin) and the right to set the profiler of every database; C(root) has both.
seealso:
  - module: linda.ops.mongodb_replset
  - module: linda.ops.config_tree
"""

EXAMPLES = r"""
- name: Bring each member to its configuration, and learn which ones have to be restarted
  linda.ops.mongodb_parameters:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    configuration: "{{ lookup('ansible.builtin.file', 'mongod.conf') | from_yaml }}"
  register: parameters

- name: Show what waits for a restart
  ansible.builtin.debug:
    msg: "{{ parameters.restart_required }}"
"""

RETURN = r"""
state:
  description: >-
    What was found: V(ready), V(standalone), or a server that cannot be logged into yet: V(no_set), V(no_users), V(not_ready) (starting,
    or copying its data), and in check mode V(not_running) and V(no_driver).
  returned: success
  type: str
  sample: ready
member:
  description: Whether the server is V(primary) or V(secondary); V(other) when it is neither or was not asked.
  returned: success
  type: str
  sample: secondary
plan:
  description: The commands that bring the running server to its configuration.
  returned: always
  type: list
  elements: dict
  sample:
    - action: profile
      setting: operationProfiling.slowOpThresholdMs
      database: admin
      reason: "operationProfiling.slowOpThresholdMs: 100 -> 50"
steps_done:
  description: The commands that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
restart_required:
  description: The settings that differ and that only a restart brings into force.
  returned: always
  type: list
  elements: dict
  sample:
    - setting: net.maxIncomingConnections
      running: (not set)
      wanted: 2000
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(login_failed), V(not_authorized), V(not_running),
    V(bad_configuration), V(bad_value) or V(oplog_out_of_bounds).
  returned: failure
  type: str
  sample: bad_value
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import LOGIN_ARGUMENTS, LOGIN_TOGETHER, Cluster, Link, Login
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_parameters_plan import (
    Observed,
    Parameter,
    Step,
    flatten,
    picture,
    plan,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "configuration": {"type": "dict", "required": True},
    "version": {"type": "str"},
}
# Every server has these for itself; their profiler is not a matter of the configuration.
INTERNAL_DATABASES = frozenset({"config", "local"})
MEGABYTE = 1024 * 1024
# The first major version that shows a parameter's details.
DETAILS_FROM = 6


def observe(link: Link, *, replicated: bool) -> Observed:
    """Read what the server goes by: seven commands, and one for each database."""
    status = link.command("serverStatus", repl=0, metrics=0, locks=0)
    names = [one["name"] for one in link.command("listDatabases", nameOnly=True)["databases"]]
    general = link.command("profile", -1)
    oplog = link.command("collStats", "oplog.rs", database="local") if replicated else None
    version = str(status["version"])
    cache = status.get("wiredTiger", {}).get("cache", {}).get("maximum bytes configured")
    return Observed(
        parsed=link.command("getCmdLineOpts")["parsed"],
        parameters=parameters_of(link, version),
        version=version,
        slow_ms=general["slowms"],
        sample_rate=general["sampleRate"],
        levels={name: link.command("profile", -1, database=name)["was"] for name in sorted({*names, "admin"} - INTERNAL_DATABASES)},
        oplog_mb=oplog["maxSize"] / MEGABYTE if oplog else None,
        oplog_hours=status.get("oplogTruncation", {}).get("oplogMinRetentionHours", 0) if oplog else None,
        cache_mb=cache / MEGABYTE if cache is not None else None,
    )


def parameters_of(link: Link, version: str) -> dict[str, Parameter]:
    """Read all parameters. A server before 6.0 does not tell which of them it takes while it runs; there each waits for a restart."""
    if int(version.partition(".")[0]) < DETAILS_FROM:
        return {name: Parameter(value, online=False) for name, value in link.command("getParameter", "*").items()}
    details = link.command("getParameter", {"showDetails": True, "allParameters": True})
    return {
        name: Parameter(entry["value"], bool(entry.get("settableAtRuntime")))
        for name, entry in details.items()
        if isinstance(entry, dict) and "value" in entry
    }


def carry_out(link: Link, step: Step) -> None:
    """Send the one command of a step."""
    fields = dict(step.fields)
    if step.action == "profile":
        link.command("profile", fields.pop("profile"), database=step.database, **fields)
    elif step.action == "resize_oplog":
        link.command("replSetResizeOplog", **fields)
    else:
        link.command("setParameter", **fields)


def converge(cluster: Cluster, params: dict[str, Any], result: dict[str, Any], *, check_mode: bool) -> None:
    """Read, plan, apply. ``result`` is filled as it goes."""
    result["state"] = cluster.state
    if cluster.state not in ("ready", "standalone"):
        return
    if cluster.member.host != cluster.entry.host:
        # Our account is known to the primary and not yet here: the member has only begun to copy.
        result["state"] = "not_ready"
        return
    hello = cluster.hello
    result["member"] = "primary" if hello.get("isWritablePrimary") else "secondary" if hello.get("secondary") else "other"
    found = plan(params["configuration"], observe(cluster.member, replicated="setName" in hello), params["version"] or "")
    before, after = picture(found)
    result["plan"] = [step.describe() for step in found.steps]
    result["restart_required"] = [one.describe() for one in found.restart]
    result["diff"] = {"before": before, "after": after}
    for step in () if check_mode else found.steps:
        carry_out(cluster.member, step)
        result["steps_done"].append(step.describe())
        result["changed"] = True


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    flatten(module.params["configuration"])
    try:
        with Cluster(Login.from_params(module.params)) as cluster:
            converge(cluster, module.params, result, check_mode=module.check_mode)
    except MongodbError as error:
        skipped = {"not_ready", "not_running", "no_driver"} if module.check_mode else {"not_ready"}
        if error.code not in skipped:
            raise
        result["state"] = error.code
    if module.check_mode:
        result["changed"] = bool(result["plan"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "member": "other", "plan": [], "steps_done": [], "restart_required": []}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
