#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say in one sentence whether a host is fit for a MongoDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_preflight
short_description: Say in one sentence whether a host is fit for a MongoDB server
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Reads memory, the disk and file system that hold the data or would hold it, the clock and kernel settings, and judges them. Changes
    nothing.
  - Too little memory or disk is refused where a minimum is asked. Everything else is advice, or refused with O(strict).
  - Returns the facts of the distribution with it, so that a role needs no run of M(ansible.builtin.setup) for them.
options:
  data_path:
    description:
      - The server's data path. It need not exist yet.
    type: path
    default: /var/lib/mongodb
  minimum_memory_gb:
    description:
      - Memory that the host must have, in GB (10^9 bytes), less five percent that firmware and kernel keep. V(0) asks for nothing.
    type: float
    default: 0
  minimum_disk_gb:
    description:
      - Size that the file system of O(data_path) must have, in GB (10^9 bytes), less five percent that it takes itself. V(0) asks for
        nothing.
    type: float
    default: 0
  strict:
    description:
      - Whether advice about file system and clock is refused too. What the kernel says of a disk's kind is often wrong in virtual machines
        and stays advice.
    type: bool
    default: false
  kernel:
    description:
      - Kernel settings by the file that shows them. Those that differ are returned in RV(drifted).
      - Where the kernel lists all values, such as for transparent huge pages, the chosen one counts.
    type: dict
    default: {}
  unit:
    description:
      - The server's unit, for O(read_at_start).
    type: str
    default: mongod.service
  read_at_start:
    description:
      - Files that the server reads only when it starts. Those that are newer than the running process are returned in RV(stale).
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    support: full
    description: Only ever reads.
  diff_mode:
    support: none
    description: Changes nothing.
  platform:
    platforms: debian
    support: full
    description: Needs Linux, and systemd for O(read_at_start).
  facts:
    support: partial
    description: Returns the facts of the distribution only.
seealso:
  - module: linda.ops.mongodb_parameters
"""

EXAMPLES = r"""
- name: Refuse hosts that are too small for the database
  linda.ops.mongodb_preflight:
    minimum_memory_gb: 32
    minimum_disk_gb: 500
    strict: true

- name: See which kernel settings are not as they should be
  linda.ops.mongodb_preflight:
    kernel:
      /proc/sys/vm/swappiness: "1"
      /sys/kernel/mm/transparent_hugepage/enabled: never
"""

RETURN = r"""
verdict:
  description: One sentence about the host.
  returned: always
  type: str
  sample: "fit for MongoDB: 67.1 GB of memory, 983.3 GB of xfs at /var/lib/mongodb."
findings:
  description: What is not as it should be.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: file_system
      text: the data lies on btrfs at /; put it on xfs, or on ext4
      refused: false
drifted:
  description: Files of O(kernel) that show another value.
  returned: always
  type: list
  elements: str
  sample: [/proc/sys/vm/swappiness]
stale:
  description: Files of O(read_at_start) that changed after the running server was started; empty when it does not run.
  returned: always
  type: list
  elements: str
  sample: []
ansible_facts:
  description: C(distribution) and what belongs to it, as M(ansible.builtin.setup) gives them.
  returned: always
  type: dict
  sample:
    distribution: Debian
    distribution_version: "12.11"
"""

import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts.system.distribution import DistributionFactCollector
from ansible_collections.linda.ops.plugins.module_utils._mongodb_preflight import Wanted, drifted, judge, read_host, verdict

ARGUMENTS: dict[str, dict[str, Any]] = {
    "data_path": {"type": "path", "default": "/var/lib/mongodb"},
    "minimum_memory_gb": {"type": "float", "default": 0},
    "minimum_disk_gb": {"type": "float", "default": 0},
    "strict": {"type": "bool", "default": False},
    "kernel": {"type": "dict", "default": {}},
    "unit": {"type": "str", "default": "mongod.service"},
    "read_at_start": {"type": "list", "elements": "path", "default": []},
}


def started_at(unit: str) -> float | None:
    """Return when the running process of a unit was started, in seconds since 1970; None when it does not run."""
    show = ["systemctl", "show", "--property=MainPID,ExecMainStartTimestampMonotonic", "--", unit]
    try:
        said = subprocess.run(show, capture_output=True, text=True, timeout=30, check=False).stdout  # noqa: S603
    except OSError:
        return None
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if values.get("MainPID", "0") == "0":
        return None
    return time.time() - (time.monotonic() - int(values["ExecMainStartTimestampMonotonic"]) / 1e6)


def newer(paths: Sequence[str], moment: float | None) -> list[str]:
    """Return the files that were put in place after a moment. Their change time counts: a package keeps the date of its contents."""
    return [path for path in paths if moment is not None and os.path.exists(path) and os.stat(path).st_ctime > moment]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    kernel = {str(path): str(value) for path, value in params["kernel"].items()}
    wanted = Wanted(params["minimum_memory_gb"], params["minimum_disk_gb"], params["strict"], kernel)
    host = read_host(params["data_path"], list(kernel))
    findings = judge(host, wanted)
    result = {
        "changed": False,
        "verdict": verdict(host, findings),
        "findings": [finding.describe() for finding in findings],
        "drifted": drifted(host, wanted),
        "stale": newer(params["read_at_start"], started_at(params["unit"])),
        "ansible_facts": DistributionFactCollector().collect(module=module),
    }
    if any(finding.refused for finding in findings):
        module.fail_json(msg=f"This host is {result['verdict']}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
