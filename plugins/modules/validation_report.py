# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin linda.ops.validation_report; nothing of it runs on a managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validation_report
short_description: Write the report of a validation and judge it
version_added: 0.1.0
description:
  - Gathers the results that tasks with M(linda.ops.run_checks) registered on the hosts, and writes a report of them on the controller.
  - The report is a directory named after the time (UTC), with C(report.html) (one file, no external resources), C(report.json) and
    C(junit.xml). The link C(latest) beside it points to it.
  - A check that was expected but has no result failed, and so did a host that left the run before, with or without checks.
  - Fails when a check failed, naming each, and when nothing was checked at all. The report is written first.
author:
  - The linda.ops authors (@linda-ops)
options:
  checks:
    description: All checks that were to be run, as the filter P(linda.ops.fleet_checks#filter) gives them.
    type: list
    elements: dict
    required: true
  hosts:
    description: All hosts that were to be checked, with or without checks.
    type: list
    elements: str
    required: true
  registered:
    description: Names of the variables in which the results were registered, on whichever of the hosts.
    type: list
    elements: str
    required: true
  directory:
    description: Where reports go. A relative path is relative to the directory in which Ansible was started.
    type: str
    required: true
  fleet:
    description: Name of the fleet.
    type: str
    default: fleet
  environment:
    description: Its environment, such as staging.
    type: str
    default: ""
  allow_empty:
    description: Do not fail when there was no check to run.
    type: bool
    default: false
attributes:
  check_mode:
    description: In check mode nothing is written and nothing fails. The verdict is shown.
    support: full
  diff_mode:
    description: Reports are new files. There is nothing to compare them with.
    support: none
  platform:
    description: Runs on the controller.
    platforms: posix
    support: full
seealso:
  - module: linda.ops.run_checks
"""

EXAMPLES = r"""
- name: Run the checks seen from here
  linda.ops.run_checks:
    checks: "{{ hostvars | linda.ops.fleet_checks(origin='controller') }}"
    fail_task: false
  register: checked
  run_once: true

- name: Write the report
  linda.ops.validation_report:
    checks: "{{ hostvars | linda.ops.fleet_checks(origin='controller') }}"
    hosts: "{{ ansible_play_hosts_all }}"
    registered: [checked]
    directory: reports
  run_once: true
"""

RETURN = r"""
verdict:
  description: V(pass), V(fail), or V(empty) when nothing was checked.
  returned: always
  type: str
  sample: pass
counts:
  description: How many checks passed, failed, were skipped, and passed with a warning.
  returned: always
  type: dict
  sample: {pass: 57, fail: 1, skip: 0, warning: 0}
report:
  description: Path of the page to look at.
  returned: when written
  type: str
  sample: /srv/linda/reports/20260101T120000Z/report.html
failed_checks:
  description: The failed checks, each with its reason.
  returned: always
  type: list
  elements: str
  sample: ["edge1 edge/healthz (http): status 502, expected 200"]
"""
