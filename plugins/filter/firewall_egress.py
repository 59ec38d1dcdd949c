# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.firewall_egress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._firewall_plan import describe, egress_of

DOCUMENTATION = r"""
name: firewall_egress
short_description: What a host may reach itself, ready for a packet filter
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Gives what is listed as rules in the form of P(linda.ops.firewall_rules#filter), with networks by family and without overlaps.
positional: _input
options:
  _input:
    description: What the host may reach, each with C(name), C(port), C(proto) (V(tcp) if not given) and C(to), a list of networks.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what this host may reach
  ansible.builtin.debug:
    msg: "{{ [{'name': 'resolvers', 'port': 53, 'proto': 'udp', 'to': ['192.0.2.53']}] | linda.ops.firewall_egress }}"
"""

RETURN = r"""
_value:
  description: One entry for each port, as P(linda.ops.firewall_rules#filter) returns them.
  type: list
  elements: dict
  sample:
    - name: resolvers
      proto: udp
      port: 53
      ipv4: [192.0.2.53/32]
      ipv6: []
"""


def firewall_egress(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules; see RETURN."""
    return describe(egress_of(entries))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"firewall_egress": firewall_egress}
