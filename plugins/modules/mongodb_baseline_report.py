# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin linda.ops.mongodb_baseline_report; nothing of it runs on a managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongodb_baseline_report
short_description: Store a MongoDB baseline and show it beside the last one
version_added: 0.1.0
description:
  - Stores what M(linda.ops.mongodb_baseline) measured as C(TIME.json) (UTC) on the controller, writes the page C(TIME.html) beside it (one
    file, no external resources), points the links C(latest.json) and C(latest.html) to them, and prints a table.
  - It is compared with the newest earlier measurement of the same cluster in that directory.
author:
  - The linda.ops authors (@linda-ops)
options:
  measurement:
    description: The C(measurement) of M(linda.ops.mongodb_baseline).
    type: dict
    required: true
  directory:
    description: Where measurements are. A relative path is relative to the directory in which Ansible was started.
    type: str
    default: reports/mongodb-baseline
attributes:
  check_mode:
    description: In check mode nothing is written. The table is shown.
    support: full
  diff_mode:
    description: Measurements are new files. There is nothing to compare them with.
    support: none
  platform:
    description: Runs on the controller.
    platforms: posix
    support: full
seealso:
  - module: linda.ops.mongodb_baseline
"""

EXAMPLES = r"""
- name: Measure
  linda.ops.mongodb_baseline:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
  run_once: true
  register: measured

- name: Store it and show what has changed
  linda.ops.mongodb_baseline_report:
    measurement: "{{ measured.measurement }}"
  run_once: true
"""

RETURN = r"""
stored:
  description: Path of the stored measurement.
  returned: when written
  type: str
  sample: /srv/linda/reports/mongodb-baseline/20260101T120000Z.json
report:
  description: Path of the page to look at.
  returned: when written
  type: str
  sample: /srv/linda/reports/mongodb-baseline/20260101T120000Z.html
table:
  description: The measurement beside the last one, as text.
  returned: always
  type: str
verdicts:
  description: >-
    Each workload as V(first), V(same), V(faster), V(slower), or V(other) when the load was not the same and so is not compared.
  returned: always
  type: dict
  sample: {point_read: same, insert: slower}
"""
