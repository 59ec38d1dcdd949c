# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin linda.ops.check_fleet; nothing of it runs on a managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_fleet
short_description: Check the inventory of the whole fleet on the controller
version_added: 0.1.0
description:
  - Judges the variables that begin with C(fleet_) and the groups of the inventory, once for all hosts, before anything is changed.
  - Refuses hosts without C(fleet_address) or with the address of another host, a C(fleet_domain) that is no DNS name, bad
    C(fleet_admin_networks), unknown C(fleet_) variables, values of a wrong type, and groups without a host.
  - All violations are collected into one message. What several hosts share is said once.
options:
  hosts:
    description:
      - Hosts to judge, usually all hosts of the inventory also when a run is limited to some.
      - By default all hosts of the inventory.
    type: list
    elements: str
  required_groups:
    description: Groups that must have at least one host.
    type: list
    elements: str
    default: []
  also_known:
    description: Further variables with the prefix C(fleet_) that the inventory may set.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Runs the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
  platform:
    support: full
    description: Runs on the controller for hosts of every platform.
    platforms: all
notes:
  - Runs once for the play, whatever the number of its hosts; a failure ends the play for all of them.
seealso:
  - module: linda.ops.check_inputs
  - module: linda.ops.check_platform
author:
  - The linda.ops authors (@linda)
"""

EXAMPLES = r"""
- name: describe | Check the inventory
  linda.ops.check_fleet:
    required_groups: [edge, api, mongodb]
"""

RETURN = r"""
checked:
  description: How many hosts were judged.
  returned: always
  type: int
  sample: 10
msg:
  description: All violations as text, one line each.
  returned: always
  type: str
  sample: 'host api2: fleet_address = "192.0.2.21" is the address of host api1 too. Give every host an address of its own. (hosts.yml:14)'
"""
