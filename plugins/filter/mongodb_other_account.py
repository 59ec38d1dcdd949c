# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_other_account."""

from __future__ import annotations

from collections.abc import Callable

SUFFIX = "_next"

DOCUMENTATION = r"""
name: mongodb_other_account
short_description: Name the other one of two accounts that take turns
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - An account of MongoDB has one password, so a password is replaced without an interruption by going over to a second account. The two
    are a name and the same name with V(_next) behind it.
options:
  _input:
    description: One of the two names.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Name the account that follows linda, and the one that follows linda_next
  ansible.builtin.debug:
    msg: "{{ ['linda', 'linda_next'] | map('linda.ops.mongodb_other_account') }}"
"""

RETURN = r"""
_value:
  description: The other name.
  type: str
  sample: linda_next
"""


def mongodb_other_account(name: str) -> str:
    """Return the other name; see RETURN."""
    text = str(name)
    return text.removesuffix(SUFFIX) if text.endswith(SUFFIX) and text != SUFFIX else text + SUFFIX


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_other_account": mongodb_other_account}
