# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError
from ansible_collections.linda.ops.plugins.module_utils._wiring import members_of

DOCUMENTATION = r"""
name: mongodb_members
short_description: Members of a replica set from hosts of the inventory
version_added: 0.1.0
author:
  - The linda.ops authors
description:
  - Gives one member for each host, named by its full name and port, with what the host itself says about its
    membership in C(mongodb_member), such as its priority.
positional: _input, hostvars
options:
  _input:
    description: Names of hosts in the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description: C(hostvars), or a dictionary of its shape.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the members
  ansible.builtin.debug:
    msg: "{{ ['localhost'] | linda.ops.mongodb_members(hostvars) }}"
"""

RETURN = r"""
_value:
  description: One member for each host, in the given order.
  type: list
  elements: dict
  sample:
    - host: mongo1.example.org:27017
      priority: 2
"""


def mongodb_members(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """The members; see RETURN."""
    try:
        return members_of(hosts, hostvars)
    except DescriptorError as problem:
        raise AnsibleFilterError(f"mongodb_members: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters of this file by name."""
        return {"mongodb_members": mongodb_members}
