# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.firewall_rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._firewall_plan import FirewallError, describe, login_of, rules_of

DOCUMENTATION = r"""
name: firewall_rules
short_description: Who may reach which port of a host, ready for a packet filter
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Takes what P(linda.ops.fleet_ports#filter) says of a host and the administrators' networks, and gives the rules of its packet filter.
  - Refuses what P(linda.ops.firewall_problems#filter) tells of.
positional: _input
extends_documentation_fragment: linda.ops.firewall_inputs
"""

EXAMPLES = r"""
- name: Show the rules of this host
  ansible.builtin.debug:
    msg: >-
      {{ [{'role': 'edge', 'name': 'https', 'port': 443, 'proto': 'tcp', 'sources': ['0.0.0.0/0', '::/0']}]
         | linda.ops.firewall_rules(administrators=['192.0.2.0/24'], admin_ports=[22]) }}
"""

RETURN = r"""
_value:
  description:
    - One entry for each port, the administrators' first.
    - V(null) in RV(_value[].ipv4) or RV(_value[].ipv6) is everybody of the family.
  type: list
  elements: dict
  contains:
    name:
      description: Who asked for it.
      type: str
      sample: edge https
    proto:
      description: V(tcp) or V(udp).
      type: str
      sample: tcp
    port:
      description: The port.
      type: int
      sample: 443
    ipv4:
      description: Networks of IPv4 that may reach it.
      type: list
      elements: str
      sample: [192.0.2.0/24]
    ipv6:
      description: Networks of IPv6 that may reach it.
      type: list
      elements: str
      sample: []
"""


def firewall_rules(
    ports: Sequence[Mapping[str, Any]], administrators: Sequence[str], admin_ports: Sequence[Any], connection: str = ""
) -> list[dict[str, Any]]:
    """Return the rules; see RETURN."""
    try:
        return describe(rules_of(ports, administrators, [int(port) for port in admin_ports], login_of(connection)))
    except FirewallError as problem:
        raise AnsibleFilterError(str(problem)) from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"firewall_rules": firewall_rules}
