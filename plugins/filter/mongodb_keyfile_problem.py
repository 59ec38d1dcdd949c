# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_keyfile_problem."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.linda.ops.plugins.module_utils._mongodb_keyfile import keyfile_problem

DOCUMENTATION = r"""
name: mongodb_keyfile_problem
short_description: Tell why the content of a MongoDB key file must not be used
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Refuses keys that are short, that repeat themselves or follow the alphabet, whose letters hold few bits, and keys that are printed in
    public examples.
  - A key file may hold several keys as a YAML list, as a rotation needs; each is judged.
  - The answer never holds a key.
options:
  _input:
    description: The content of the key file.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show why this is no secret
  ansible.builtin.debug:
    msg: "{{ ('abcdefgh' * 16) | linda.ops.mongodb_keyfile_problem }}"
"""

RETURN = r"""
_value:
  description: The problem, without a subject; empty when there is none.
  type: str
"""


def mongodb_keyfile_problem(text: object) -> str:
    """Return the problem; see RETURN."""
    return keyfile_problem(str(text))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_keyfile_problem": mongodb_keyfile_problem}
