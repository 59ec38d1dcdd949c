# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling_plan import rounds, rung

DOCUMENTATION = r"""
name: mongodb_rounds
short_description: Give the rounds that bring a replica set from where its members are to a goal, one step at a time
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Some changes of a replica set go over steps of which only neighbours understand each other, such as the rotation of the key file, or
    the way to required TLS and membership by certificate. Every round brings all members one step on.
  - Members that a run that died left one step apart are brought together first.
positional: _input, goal
options:
  _input:
    description: Where each member is, as a number, or as a pair of TLS mode and membership.
    type: list
    elements: raw
    required: true
  goal:
    description: Where all are to be, in the same form.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Rounds 2 and 3 are left
  ansible.builtin.debug:
    msg: "{{ [1, 2, 1] | linda.ops.mongodb_rounds(3) }}"
- name: Rounds 4, 5 and 6 are left
  ansible.builtin.debug:
    msg: "{{ [['requireTLS', 'keyFile'], ['requireTLS', 'sendKeyFile']] | linda.ops.mongodb_rounds(['requireTLS', 'x509']) }}"
"""

RETURN = r"""
_value:
  description: Numbers of the rounds that are left; empty when all are there.
  type: list
  elements: int
  sample: [2, 3]
"""


def mongodb_rounds(positions: Sequence[object], goal: object) -> list[int]:
    """Return the rounds; see RETURN."""
    try:
        return rounds([_place(position) for position in positions], _place(goal))
    except (MongodbError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"mongodb_rounds: {error}") from error


def _place(value: object) -> int:
    if isinstance(value, list | tuple):
        tls, membership = value
        return rung((str(tls), str(membership)))
    return int(str(value))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_rounds": mongodb_rounds}
