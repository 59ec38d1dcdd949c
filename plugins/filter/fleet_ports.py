# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.fleet_ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError, ports_of

DOCUMENTATION = r"""
name: fleet_ports
short_description: The ports of one host and the networks that may reach them
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Reads the service descriptors of the fleet (C(fleet_services) of every host) and gives the ports of one host with
    the sources of each resolved to networks, ready for a firewall.
  - The source V(any) becomes C(0.0.0.0/0) and C(::/0), V(admin) becomes C(fleet_admin_networks) of the host, a group
    becomes the C(fleet_address) of each of its hosts, and a network stays what it is.
  - A descriptor that is wrong, on any host, is refused with a message that names host, role and field.
positional: _input, host
options:
  _input:
    description: C(hostvars), or a dictionary of its shape.
    type: dict
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show who may reach what on this host
  ansible.builtin.debug:
    msg: "{{ hostvars | linda.ops.fleet_ports(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: One entry for each port, in the order of number and protocol.
  type: list
  elements: dict
  sample:
    - role: application
      name: http
      port: 8000
      proto: tcp
      sources: [198.51.100.11/32, 198.51.100.12/32]
"""


def fleet_ports(hostvars: Mapping[str, Mapping[str, object]], host: str) -> list[dict[str, object]]:
    """The ports of `host` with their sources resolved; see RETURN."""
    try:
        return ports_of(hostvars, host)
    except DescriptorError as problem:
        raise AnsibleFilterError(f"fleet_ports: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters of this file by name."""
        return {"fleet_ports": fleet_ports}
