# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.fleet_endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError
from ansible_collections.linda.ops.plugins.module_utils._wiring import endpoints_of

DOCUMENTATION = r"""
name: fleet_endpoints
short_description: Where a role's named port is offered in the fleet
version_added: 0.1.0
author:
  - The linda.ops authors
description:
  - Reads the service descriptors of the fleet and gives the endpoints of one named port of one role, such as the
    upstreams of a load balancer or the members of a database an application connects to.
positional: _input, role, port
options:
  _input:
    description: C(hostvars), or a dictionary of its shape.
    type: dict
    required: true
  role:
    description: Name of the role as its descriptor is published.
    type: str
    required: true
  port:
    description: Name of the port in the descriptor.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the upstreams of the edge
  ansible.builtin.debug:
    msg: "{{ hostvars | linda.ops.fleet_endpoints('application', 'http') }}"
"""

RETURN = r"""
_value:
  description: One entry for each host that offers the role, in the order of the inventory.
  type: list
  elements: dict
  sample:
    - name: api1
      address: 198.51.100.21:8000
"""


def fleet_endpoints(hostvars: Mapping[str, Mapping[str, object]], role: str, port: str) -> list[dict[str, str]]:
    """The endpoints of `port` of `role`; see RETURN."""
    try:
        return endpoints_of(hostvars, role, port)
    except DescriptorError as problem:
        raise AnsibleFilterError(f"fleet_endpoints: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters of this file by name."""
        return {"fleet_endpoints": fleet_endpoints}
