# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.firewall_problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._firewall_plan import login_of, problems_of

DOCUMENTATION = r"""
name: firewall_problems
short_description: What makes the inputs of a packet filter impossible
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Tells of administrators that are nobody or everybody, of a port that two services claim, and of rules that would shut out the run
    that installs them.
positional: _input
extends_documentation_fragment: linda.ops.firewall_inputs
"""

EXAMPLES = r"""
- name: Refuse impossible rules
  ansible.builtin.assert:
    that: __problems == {}
    fail_msg: "{{ __problems }}"
  vars:
    __problems: "{{ [] | linda.ops.firewall_problems(administrators=['192.0.2.0/24'], admin_ports=[22]) }}"
"""

RETURN = r"""
_value:
  description: By the role's variable what is wrong with it, as the end of a sentence. Empty when nothing is.
  type: dict
  sample:
    firewall_ports: gives 80/tcp to edge (http) and to application (api)
"""


def firewall_problems(
    ports: Sequence[Mapping[str, Any]], administrators: Sequence[str], admin_ports: Sequence[Any], connection: str = ""
) -> dict[str, str]:
    """Return the problems; see RETURN."""
    return problems_of(ports, administrators, [int(port) for port in admin_ports], login_of(connection))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"firewall_problems": firewall_problems}
