# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin linda.ops.check_platform; nothing of it runs on a managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_platform
short_description: Refuse hosts whose platform is not supported
version_added: 0.1.0
description:
  - Judges the facts C(distribution) and C(distribution_version), which must have been gathered before. Makes no connection of its own.
  - Accepts Debian 12 and Debian 13, on which the collection is tested.
  - Accepts Ubuntu 24.04, on which it was never tested, only where C(fleet_allow_untested_platform) is true.
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
seealso:
  - module: linda.ops.check_inputs
  - module: linda.ops.check_fleet
author:
  - The linda.ops authors (@linda)
"""

EXAMPLES = r"""
- name: base | Learn the platform
  ansible.builtin.setup:
    gather_subset: [distribution]

- name: base | Refuse an unsupported platform
  linda.ops.check_platform:
"""

RETURN = r"""
msg:
  description: Why the platform is refused, or that it is supported.
  returned: always
  type: str
  sample: 'host web1: platform = Fedora 42 is not supported. Install Debian 12 or Debian 13.'
"""
