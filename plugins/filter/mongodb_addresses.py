# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError
from ansible_collections.linda.ops.plugins.module_utils._wiring import addresses_of

DOCUMENTATION = r"""
name: mongodb_addresses
short_description: Give the addresses of the members of a replica set
version_added: 0.2.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Gives C(fleet_address:mongodb_port) of each host, the port V(27017) where a host sets none. For the option C(login_addresses) of the
    MongoDB modules, where the names that the set itself uses do not resolve.
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: Ansible's variable of that name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where the members are reached
  ansible.builtin.debug:
    msg: "{{ groups['mongodb'] | default([]) | linda.ops.mongodb_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: One address for each host, in the given order.
  type: list
  elements: str
  sample: ["198.51.100.31:27017", "[2001:db8::32]:27017"]
"""


def mongodb_addresses(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the addresses; see RETURN."""
    try:
        return addresses_of(hosts, hostvars)
    except (DescriptorError, ValueError) as problem:
        raise AnsibleFilterError(f"mongodb_addresses: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_addresses": mongodb_addresses}
