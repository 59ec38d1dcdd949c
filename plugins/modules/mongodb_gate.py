#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say in which order members of a MongoDB replica set are rolled, let one go when it is safe, and wait until it is back."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_gate
short_description: Let the members of a MongoDB replica set go one after the other, and only when it is safe
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - The gate of rolling restarts, changes and upgrades. A playbook asks it for the order of the members that still need to be rolled, and
    around the work on each of them asks it to let the member go and to see it back.
  - A member goes only while all others are up, at most O(max_lag) seconds behind, with oplogs of at least O(min_oplog_hours), while no
    index is being built, and while a majority with a possible primary stays. The module waits for what passes by waiting.
  - Members that copy their data from the one that goes copy from another one first (C(replSetSyncFrom)). A member that loses its source
    looks for a new one only after a second, and writes with the write concern V(majority) would wait for it.
  - A primary steps down before it goes, and another one is there when the module returns.
  - Everything is read from the servers. A run that died is repeated with the same options and leaves alone the members that are done.
options:
  replica_set:
    description: The name of the set.
    type: str
    default: rs0
  step:
    description:
      - V(order) only reads, and returns the members that still lack something of the target, in their order.
      - V(leave) waits until O(member) may be stopped, and makes it step down if it is primary.
      - V(return) waits until O(member) and all others are well again, and refuses a member that came back without the target.
    type: str
    choices: [order, leave, return]
    default: order
  member:
    description: The member that leaves or returns, as the set knows it (C(host:port)).
    type: str
  version:
    description: The target is this version. An older one, or one that skips a release series, is refused.
    type: str
  restarted_after:
    description: The target is a process that started after this time, in seconds since 1970.
    type: float
  tls_mode:
    description: The target is this TLS mode with O(cluster_auth_mode), or a later step on the way to required TLS and certificates.
    type: str
    choices: [disabled, allowTLS, preferTLS, requireTLS]
  cluster_auth_mode:
    description: See O(tls_mode).
    type: str
    choices: [keyFile, sendKeyFile, sendX509, x509]
  due:
    description: Members that need to be rolled for a reason that their servers cannot show, such as another key file.
    type: list
    elements: str
    default: []
  changed:
    description: Members by the time (seconds since 1970) when the files that they start with were last changed. An older process is rolled.
    type: dict
    default: {}
  max_lag:
    description: Seconds that any member may be behind.
    type: float
    default: 10
  min_oplog_hours:
    description: Hours that the oplog of each member must reach back, once it has ever been full.
    type: float
    default: 1
  wait:
    description: Seconds to wait until a member may go, or is back.
    type: int
    default: 600
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Looks once, and sends no command that changes anything.
  diff_mode:
    support: full
    description: Shows the state of the member before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
seealso:
  - module: linda.ops.mongodb_replset
  - module: linda.ops.mongodb_feature_compatibility
"""

EXAMPLES = r"""
- name: Who does not run 6.0.27 yet, in the order in which they go
  linda.ops.mongodb_gate:
    login_addresses: [mongo1.example.net, mongo2.example.net, mongo3.example.net]
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    version: 6.0.27
  register: rolling

- name: Let one go
  linda.ops.mongodb_gate:
    login_addresses: [mongo1.example.net, mongo2.example.net, mongo3.example.net]
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    step: leave
    member: mongo2.example.net:27017
    max_lag: 5
"""

RETURN = r"""
order:
  description: The members that still lack something of the target, in the order in which they are rolled.
  returned: success
  type: list
  elements: str
  sample: [mongo2.example.net:27017, mongo1.example.net:27017]
members:
  description: What was read of each member.
  returned: success
  type: list
  elements: dict
  sample:
    - host: mongo1.example.net:27017
      state: PRIMARY
      version: 6.0.5
      lag: 0.0
feature_compatibility:
  description: The feature compatibility version of the set.
  returned: success
  type: str
  sample: "6.0"
plan:
  description: For O(step=order) all steps to the target, for O(step=leave) what this call does.
  returned: always
  type: list
  elements: dict
  sample:
    - action: roll
      host: mongo2.example.net:27017
      reason: runs 6.0.5, not 6.0.27
steps_done:
  description: The steps that this call carried out.
  returned: always
  type: list
  elements: dict
  sample: []
state:
  description: The state of O(member) at the end, else what the set was found in.
  returned: success
  type: str
  sample: SECONDARY
code:
  description: >-
    What was refused, in one word that stays the same between releases, such as V(unhealthy), V(lagging), V(oplog_too_short),
    V(index_build), V(majority_lost), V(no_successor), V(downgrade), V(skips_major), V(feature_compatibility),
    V(skips_step) or V(not_effective).
  returned: failure
  type: str
  sample: lagging
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    POLL_SECONDS,
    Cluster,
    CommandError,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import canonical_host
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling import PASSING, observe, sync_from
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling_plan import (
    Limits,
    Observed,
    Problem,
    Step,
    Target,
    gates,
    missing,
    order,
    plan,
    redirects,
    rung,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str", "default": "rs0"},
    "step": {"type": "str", "choices": ["order", "leave", "return"], "default": "order"},
    "member": {"type": "str"},
    "version": {"type": "str"},
    "restarted_after": {"type": "float"},
    "tls_mode": {"type": "str", "choices": ["disabled", "allowTLS", "preferTLS", "requireTLS"]},
    "cluster_auth_mode": {"type": "str", "choices": ["keyFile", "sendKeyFile", "sendX509", "x509"]},
    "due": {"type": "list", "elements": "str", "default": []},
    "changed": {"type": "dict", "default": {}},
    "max_lag": {"type": "float", "default": 10},
    "min_oplog_hours": {"type": "float", "default": 1},
    "wait": {"type": "int", "default": 600},
}
# The old primary does not stand for election again before it has been stopped, whatever its priority.
STEP_DOWN_SECONDS = 60
CATCH_UP_SECONDS = 20
# Two attempts of a member that has no source take a second each.
REDIRECT_SECONDS = 8
# The server's number for "no successor has caught up in the time given".
TIME_LIMIT = 262


class Gate:
    """One call: reads the set as often as it takes, and speaks to one member."""

    def __init__(self, module: AnsibleModule, result: dict[str, Any]) -> None:
        params = module.params
        self.check_mode: bool = module.check_mode
        self.result = result
        self.login = Login.from_params(params)
        self.replica_set: str = params["replica_set"]
        self.host = canonical_host(params["member"]) if params["member"] else ""
        self.limits = Limits(params["max_lag"], params["min_oplog_hours"])
        security = (params["tls_mode"], params["cluster_auth_mode"]) if params["tls_mode"] else None
        if security is not None:
            rung(security)
        self.target = Target(params["version"], params["restarted_after"], security)
        self.due = [canonical_host(host) for host in params["due"]]
        self.changed = _times(params["changed"])
        self.deadline = time.monotonic() + params["wait"]

    def look(self) -> Observed:
        """Read the set over a connection of its own: which server is the way in may change from look to look."""
        with Cluster(self.login) as cluster:
            return observe(cluster, self.replica_set, due=self.due, changed=self.changed)

    def show_order(self) -> None:
        """Say who is to be rolled."""
        observed = self.look()
        self._record(observed, plan(observed, self.target))

    def let_go(self) -> None:
        """Wait until the member may be stopped, and hand over if it is primary."""
        observed = self._until(lambda seen: gates(seen, self.host, self.limits))
        was_primary = observed.by_host[self.host].state == "PRIMARY"
        steps = redirects(observed, self.host)
        steps += [Step("step_down", self.host, "hand over before it is stopped")] if was_primary else []
        self._record(observed, steps)
        self.result["diff"]["after"] = {self.host: "SECONDARY" if was_primary else observed.by_host[self.host].state}
        self.result["changed"] = bool(steps)
        if self.check_mode:
            return
        for step in steps:
            if self._redirect(step) if step.action == "sync_from" else self._step_down():
                self.result["steps_done"].append(step.describe())

    def see_back(self) -> None:
        """Wait until the member does its work again, and all others too; refuse one that came back as it was."""
        if self.check_mode:
            self._record(self.look(), [])
            return
        self.due, self.changed = [], {}
        observed = self._until(self._not_back)
        lacking = missing(observed.by_host[self.host], self.target)
        if lacking:
            raise MongodbError("not_effective", f"{self.host} is back, but {'; '.join(lacking)}. Look at its unit and its log.")
        self._record(observed, [])

    def _not_back(self, observed: Observed) -> list[Problem]:
        problems = [Problem("unhealthy", f"{one.host} is {one.state}.") for one in observed.members if not one.up]
        slow = [one for one in observed.members if one.up and one.lag > self.limits.max_lag]
        problems += [Problem("lagging", f"{one.host} is {one.lag:.0f} s behind.") for one in slow]
        if self.host not in observed.by_host:
            problems.append(Problem("not_a_member", f"{self.host} is not a member of this set.", lasting=True))
        return problems

    def _until(self, problems_of: Callable[[Observed], list[Problem]]) -> Observed:
        """Look until nothing stands in the way; what no waiting changes is refused at once."""
        while True:
            problems: list[Problem]
            try:
                observed = self.look()
                problems = problems_of(observed)
                if not problems:
                    return observed
            except MongodbError as error:
                if error.code not in PASSING:
                    raise
                problems = [Problem(error.code, error.message)]
            lasting = [problem for problem in problems if problem.lasting]
            if lasting or self.check_mode or time.monotonic() > self.deadline:
                first = (lasting or problems)[0]
                raise MongodbError(first.code, " ".join(problem.message for problem in lasting or problems))
            time.sleep(POLL_SECONDS)

    def _redirect(self, step: Step) -> bool:
        """Let a member copy from another one. It only saves writes a wait, so the run goes on without when the servers will not."""
        with contextlib.suppress(MongodbError), Cluster(self.login) as cluster:
            return sync_from(cluster, step.host, step.source, REDIRECT_SECONDS)
        return False

    def _step_down(self) -> bool:
        """Hand over, and wait until another member is primary."""
        while True:
            try:
                with Cluster(self.login) as cluster:
                    cluster.primary().command("replSetStepDown", STEP_DOWN_SECONDS, secondaryCatchUpPeriodSecs=CATCH_UP_SECONDS)
            except MongodbError as error:
                # Under load no successor may have everything in time; the primary goes on meanwhile, and is asked again.
                if isinstance(error, CommandError) and error.number == TIME_LIMIT and time.monotonic() < self.deadline:
                    continue
                # Somebody else was faster, or the connection went with the role.
                if error.code not in PASSING:
                    raise
            break

        def still_there(seen: Observed) -> list[Problem]:
            member = seen.by_host[self.host]
            return [Problem("no_primary", f"{self.host} is still primary.")] if member.state == "PRIMARY" else []

        self._until(still_there)
        return True

    def _record(self, observed: Observed, steps: list[Step]) -> None:
        """Put what was read and planned into the result."""
        member = observed.by_host.get(self.host)
        self.result |= {
            "members": [one.describe() for one in observed.members],
            "order": order(observed, self.target),
            "feature_compatibility": observed.feature_compatibility,
            "plan": [step.describe() for step in steps],
            "state": member.state if member else "ready",
        }
        states = {self.host: member.state} if member else {one.host: one.state for one in observed.members}
        self.result["diff"] = {"before": states, "after": dict(states)}


def _times(changed: dict[str, Any]) -> dict[str, float]:
    """Read the option ``changed``.

    :raises MongodbError: ``bad_changed`` or ``bad_host``.
    """
    try:
        return {canonical_host(host): float(value) for host, value in changed.items()}
    except (TypeError, ValueError):
        raise MongodbError("bad_changed", f"changed = {changed!r}: each value is a time in seconds since 1970.") from None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_together=[*LOGIN_TOGETHER, ("tls_mode", "cluster_auth_mode")],
        required_if=[("step", "leave", ["member"]), ("step", "return", ["member"])],
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "diff": {}}
    try:
        gate = Gate(module, result)
        {"order": gate.show_order, "leave": gate.let_go, "return": gate.see_back}[module.params["step"]]()
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
