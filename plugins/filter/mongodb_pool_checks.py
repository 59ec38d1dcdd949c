# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_pool_checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ansible_collections.linda.ops.plugins.module_utils._wiring import pool_checks_of

DOCUMENTATION = r"""
name: mongodb_pool_checks
short_description: Checks that prove the connection pool of a running application
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Gives one check of type C(mongodb_pool) for each member of a replica set that serves clients. Each asks that member how many
    connections it has from the application's address, logged in as the application's user.
  - For the descriptor of the application; C(docs/service-descriptor.md) tells about the check.
positional: _input, hostvars, client
options:
  _input:
    description: Names of the members' hosts in the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description: C(hostvars), or a dictionary of its shape.
    type: dict
    required: true
  client:
    description: Address of the application's host, as MongoDB sees it.
    type: str
    required: true
  min_size:
    description: Connections that each process of the application keeps to each member, C(minPoolSize) of its URI.
    type: int
    default: 10
  max_size:
    description: Connections that each process opens to a member at most, C(maxPoolSize) of its URI.
    type: int
    default: 100
  processes:
    description: Processes of the application on the host that have a pool of their own.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: Show what proves the pool of this host's application
  ansible.builtin.debug:
    msg: "{{ groups['mongodb'] | default([]) | linda.ops.mongodb_pool_checks(hostvars, '198.51.100.21', processes=4) }}"
"""

RETURN = r"""
_value:
  description: The checks.
  type: list
  elements: dict
"""


def mongodb_pool_checks(
    hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, object]], client: str, **pool: object
) -> list[dict[str, object]]:
    """Return the checks; see RETURN. Fields of the pool are judged with the check."""
    return pool_checks_of(hosts, hostvars, client, **pool)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_pool_checks": mongodb_pool_checks}
