# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_collections_problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_collections_spec import parse_collections
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

DOCUMENTATION = r"""
name: mongodb_collections_problem
short_description: Tell what is wrong with a description of MongoDB collections
version_added: 0.2.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Judges a description as M(linda.ops.mongodb_collections) would before it connects, on the controller and before anything is changed, for
    instance a misspelt keyword in a validator or a collection listed twice.
options:
  _input:
    description: The collections, as for M(linda.ops.mongodb_collections).
    type: list
    elements: dict
    required: true
seealso:
  - module: linda.ops.mongodb_collections
"""

EXAMPLES = r"""
- name: Show why this is refused
  ansible.builtin.debug:
    msg: "{{ [{'database': 'linda', 'collection': 'a$b'}] | linda.ops.mongodb_collections_problem }}"
"""

RETURN = r"""
_value:
  description: The problem in a sentence; empty when there is none.
  type: str
"""


def mongodb_collections_problem(collections: Sequence[Mapping[str, Any]]) -> str:
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
        return {"mongodb_collections_problem": mongodb_collections_problem}
