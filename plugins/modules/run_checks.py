#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of linda.ops.run_checks that runs on a managed host: its own checks, all in one run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_checks
short_description: Run checks of services, from the controller or from their host
version_added: 0.1.0
description:
  - Runs checks of the types tcp, tls, http, websocket, mongodb, mongodb_pool, mongodb_indexes, unit and argv concurrently, each with a
    deadline and retries.
  - The format of a check is described in C(docs/service-descriptor.md) of the collection.
  - Checks seen from the controller need no connection to a host. All checks seen from the host itself are one module run.
  - Nothing that goes wrong inside one check stops the others, a host that cannot be reached included. It becomes a failure with its reason.
  - A check that is written wrongly (unknown type, field or value) is refused before any check runs.
  - Secrets are named by the checks and read from the variables of their hosts. They are not part of the result.
author:
  - The linda.ops authors (@linda-ops)
options:
  checks:
    description:
      - The checks, each with C(host), C(role) and C(address), as the filter P(linda.ops.fleet_checks#filter) gives them.
    type: list
    elements: dict
    required: true
  origin:
    description:
      - V(any) runs the checks seen from the controller and those seen from this host; one that is seen from another host is refused.
      - V(controller) runs only those seen from the controller, of whatever host.
      - V(self) runs only those seen from this host, and passes over the others.
    type: str
    choices: [any, controller, self]
    default: any
  concurrency:
    description: How many checks run at a time.
    type: int
    default: 16
  ca_file:
    description:
      - Path of the certificate authority for checks that name none, where the check runs.
      - Without it they use the trust store of that machine.
    type: path
  fail_task:
    description: Fail the task when a check failed, after all ran.
    type: bool
    default: true
  secrets:
    description: Filled in by the action plugin with the values of the variables that the checks name. Leave it out.
    type: dict
    default: {}
attributes:
  check_mode:
    description: In check mode no check runs; each is reported as skipped.
    support: full
  diff_mode:
    description: Nothing is changed, so there is nothing to show.
    support: none
  platform:
    description: Target OS.
    platforms: posix
    support: full
requirements:
  - pymongo where a check of type mongodb, mongodb_pool or mongodb_indexes runs
seealso:
  - plugin: linda.ops.fleet_checks
    plugin_type: filter
  - module: linda.ops.validation_report
"""

EXAMPLES = r"""
- name: Is everything well that this host offers?
  linda.ops.run_checks:
    checks: "{{ hostvars | linda.ops.fleet_checks(hosts=[inventory_hostname]) }}"

- name: Is the edge to be reached from here?
  linda.ops.run_checks:
    origin: controller
    checks:
      - name: https
        host: edge1
        role: edge
        address: 192.0.2.10
        type: http
        url: https://api.example.net/healthz
        expect_json:
          status: ok
  delegate_to: localhost
"""

RETURN = r"""
results:
  description: One entry for each check that ran or was skipped, in the order of the checks.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
    host:
      description: Its host.
      type: str
    role:
      description: Its role.
      type: str
    type:
      description: Its type.
      type: str
    from:
      description: Where it was seen from, V(controller) or V(self).
      type: str
    status:
      description: V(pass), V(fail) or V(skip).
      type: str
    reason:
      description: Why it failed or was skipped.
      type: str
    evidence:
      description: What was seen, shortened, without secrets.
      type: str
    warning:
      description: What is about to go wrong although the check passed.
      type: str
    duration_s:
      description: Seconds for all attempts and the pauses between them.
      type: float
    attempts:
      description: How often it was tried.
      type: int
  sample:
    - name: https
      host: edge1
      role: edge
      type: http
      from: controller
      status: fail
      reason: status 502, expected 200
      evidence: "502, 157 bytes, TLSv1.3"
      warning: ""
      duration_s: 2.11
      attempts: 3
summary:
  description: How many checks passed, failed, were skipped, and passed with a warning.
  returned: always
  type: dict
  sample: {pass: 12, fail: 1, skip: 0, warning: 0}
started:
  description: When the first check started, in seconds since 1970.
  returned: always
  type: float
  sample: 1767225600.5
ended:
  description: When the last check ended, in seconds since 1970.
  returned: always
  type: float
  sample: 1767225603.1
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import run_all, skipped, summary
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import InvalidCheck, parse_checks, with_default_authority

ARGUMENTS: dict[str, Any] = {
    "checks": {"type": "list", "elements": "dict", "required": True},
    "origin": {"type": "str", "choices": ["any", "controller", "self"], "default": "any"},
    "concurrency": {"type": "int", "default": 16},
    "ca_file": {"type": "path"},
    "fail_task": {"type": "bool", "default": True},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
}


def main() -> None:
    """Run the given checks on this machine. The action plugin has chosen them and judges the results."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    try:
        checks = parse_checks(with_default_authority(raw, given["ca_file"]) for raw in given["checks"])
    except InvalidCheck as problem:
        module.fail_json(msg=str(problem))
    started = time.time()
    if module.check_mode:
        results = [skipped(check, "check mode") for check in checks]
    else:
        secrets = {check.host: given["secrets"] for check in checks}
        results = run_all(checks, secrets, given["concurrency"])
    module.exit_json(
        changed=False,
        results=[result.as_dict() for result in results],
        summary=summary(results),
        started=started,
        ended=time.time(),
    )


if __name__ == "__main__":
    main()
