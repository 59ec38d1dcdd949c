# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_indexes_problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import parse_collections

DOCUMENTATION = r"""
name: mongodb_indexes_problem
short_description: Tell what is wrong with a description of MongoDB indexes
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Judges a description as M(linda.ops.mongodb_indexes) does before it connects, on the controller and before anything is changed, for
    instance an unknown option, a TTL on a compound index or two indexes of one name.
options:
  _input:
    description: The collections, as O(linda.ops.mongodb_indexes#module:collections).
    type: list
    elements: dict
    required: true
seealso:
  - module: linda.ops.mongodb_indexes
"""

EXAMPLES = r"""
- name: Show what is wrong with this index
  ansible.builtin.debug:
    msg: >-
      {{ [{'database': 'linda', 'collection': 'users', 'indexes': [{'keys': [{'email': 1}], 'uniqe': true}]}]
         | linda.ops.mongodb_indexes_problem }}
"""

RETURN = r"""
_value:
  description: The problems in a sentence; empty when there are none.
  type: str
"""


def mongodb_indexes_problem(collections: Sequence[Mapping[str, Any]]) -> str:
    """Return the problem; see RETURN."""
    try:
        parse_collections(collections)
    except MongodbError as problem:
        return problem.message
    return ""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_indexes_problem": mongodb_indexes_problem}
