# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.fleet_checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError, checks_of

DOCUMENTATION = r"""
name: fleet_checks
short_description: The checks that the roles of the fleet declare
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Reads the service descriptors of the fleet (C(fleet_services) of every host) and gives their checks with C(host),
    C(role), C(from) and C(address) filled in, ready for M(linda.ops.run_checks).
  - The address of a check seen from the controller is C(ansible_host) of its host, of one seen from the host itself
    C(fleet_address), unless the check names one.
  - A descriptor that is wrong, on any host, is refused with a message that names host, role and field.
options:
  _input:
    description: C(hostvars), or a dictionary of its shape.
    type: dict
    required: true
  hosts:
    description: Give the checks of these hosts only. Default is all.
    type: list
    elements: str
  origin:
    description: Give the checks seen from there only. Default is both.
    type: str
    choices: [controller, self]
seealso:
  - module: linda.ops.run_checks
"""

EXAMPLES = r"""
- name: Run the checks of this host that can be seen from here
  linda.ops.run_checks:
    checks: "{{ hostvars | linda.ops.fleet_checks(hosts=[inventory_hostname], origin='controller') }}"
"""

RETURN = r"""
_value:
  description: One entry for each check, in the order of the inventory and of the descriptors.
  type: list
  elements: dict
  sample:
    - name: https
      type: tcp
      port: 443
      host: edge1
      role: edge
      from: controller
      address: 198.51.100.11
"""


def fleet_checks(
    hostvars: Mapping[str, Mapping[str, object]], hosts: Iterable[str] | None = None, origin: str | None = None
) -> list[dict[str, object]]:
    """The checks of the fleet; see RETURN."""
    try:
        return checks_of(hostvars, hosts, origin)
    except DescriptorError as problem:
        raise AnsibleFilterError(f"fleet_checks: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters of this file by name."""
        return {"fleet_checks": fleet_checks}
