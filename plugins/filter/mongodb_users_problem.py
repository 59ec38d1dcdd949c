# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_users_problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_plan import Description, Observed, plan
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_spec import parse_custom_roles, parse_users

DOCUMENTATION = r"""
name: mongodb_users_problem
short_description: Tell what is wrong with a description of MongoDB users
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Judges a description as M(linda.ops.mongodb_users) would on a cluster without users, on the controller and before anything is changed,
    for instance a user listed twice or a first user that could not create the others.
  - The answer never holds a password.
options:
  _input:
    description: The users, as for M(linda.ops.mongodb_users).
    type: list
    elements: dict
    required: true
  login_user:
    description: The account that the module logs in with, in the database C(admin).
    type: str
    required: true
  custom_roles:
    description: The roles of your own, as for M(linda.ops.mongodb_users).
    type: list
    elements: dict
    default: []
seealso:
  - module: linda.ops.mongodb_users
"""

EXAMPLES = r"""
- name: Show why this cannot be the first user
  ansible.builtin.debug:
    msg: "{{ [{'name': 'admin', 'roles': ['root']}] | linda.ops.mongodb_users_problem(login_user='admin') }}"
"""

RETURN = r"""
_value:
  description: The problem in a sentence; empty when there is none.
  type: str
"""


def mongodb_users_problem(users: Sequence[Mapping[str, Any]], login_user: str, custom_roles: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the problem; see RETURN."""
    try:
        described = parse_users(users)
        roles = parse_custom_roles(custom_roles)
        # A user whose password is kept elsewhere may well exist; only the module can tell.
        judged = tuple(user for user in described if user.password or user.name == login_user)
        plan(Description(judged, roles), Observed(None), ("admin", str(login_user)))
    except MongodbError as problem:
        return problem.message
    return ""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_users_problem": mongodb_users_problem}
