# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_replset_problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import parse_desired

DOCUMENTATION = r"""
name: mongodb_replset_problem
short_description: Tell what is wrong with the description of a MongoDB replica set
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Judges a description as M(linda.ops.mongodb_replset) would, on the controller and before anything is changed, for instance an even
    number of voters or a member listed twice.
options:
  _input:
    description: The members, as for M(linda.ops.mongodb_replset).
    type: list
    elements: raw
    required: true
  replica_set:
    description: The name of the set.
    type: str
    required: true
seealso:
  - module: linda.ops.mongodb_replset
"""

EXAMPLES = r"""
- name: Show why two members are no good set
  ansible.builtin.debug:
    msg: "{{ ['a.example.net', 'b.example.net'] | linda.ops.mongodb_replset_problem(replica_set='rs0') }}"
"""

RETURN = r"""
_value:
  description: The problem in a sentence; empty when there is none.
  type: str
"""


def mongodb_replset_problem(members: Sequence[Any], replica_set: str) -> str:
    """Return the problem; see RETURN."""
    try:
        parse_desired(str(replica_set), members, {})
    except MongodbError as problem:
        return problem.message
    return ""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_replset_problem": mongodb_replset_problem}
