# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_keyfile_position."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.linda.ops.plugins.module_utils._mongodb_keyfile import position

DOCUMENTATION = r"""
name: mongodb_keyfile_position
short_description: Tell how far the rotation of a MongoDB key file is on a member
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - The rotation goes from the old key over both, and both with the new one first, to the new one. Blanks inside a key do not count.
  - A third key behind them does not count either. It stays from a rotation after which C(mongodb_keyfile_previous) was never taken out.
positional: _input, previous, new
options:
  _input:
    description: The content of the member's key file.
    type: str
    required: true
  previous:
    description: The old key.
    type: str
    required: true
  new:
    description: The new key.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show how far it is
  ansible.builtin.debug:
    msg: "{{ ('- ' ~ 'abcdef\n- ' ~ 'ghijkl') | linda.ops.mongodb_keyfile_position('abcdef', 'ghijkl') }}"
"""

RETURN = r"""
_value:
  description: >-
    V(0) for the old key, V(1) for both, V(2) for both with the new one first, V(3) for the new key, V(-1) when the file holds another key.
  type: int
  sample: 1
"""


def mongodb_keyfile_position(text: object, previous: object, new: object) -> int:
    """Return the position; see RETURN."""
    return position(str(text), str(previous), str(new))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_keyfile_position": mongodb_keyfile_position}
