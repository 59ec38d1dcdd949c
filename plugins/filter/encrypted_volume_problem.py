# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.encrypted_volume_problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_open import VolumeError
from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_plan import OPTIONS, parse_desired

DOCUMENTATION = r"""
name: encrypted_volume_problem
short_description: Tell what is wrong with the description of an encrypted volume
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Judges a description as M(linda.ops.encrypted_volume) would, on the controller and before anything is changed, for instance two sources
    of the key, or a key that lies on the volume it opens.
options:
  _input:
    description: The options of M(linda.ops.encrypted_volume) as a mapping.
    type: dict
    required: true
seealso:
  - module: linda.ops.encrypted_volume
"""

EXAMPLES = r"""
- name: Show why this volume could not be opened
  ansible.builtin.debug:
    msg: "{{ {'name': 'data', 'device': '/dev/vdb', 'mount_point': '/srv/data'} | linda.ops.encrypted_volume_problem }}"
"""

RETURN = r"""
_value:
  description: The problem in a sentence; empty when there is none.
  type: str
"""


def encrypted_volume_problem(description: Mapping[str, Any]) -> str:
    """Return the problem; see RETURN."""
    unknown = sorted(set(description) - OPTIONS)
    if unknown:
        return f"{', '.join(unknown)}: no such option. Known: {', '.join(sorted(OPTIONS))}."
    try:
        parse_desired(description)
    except VolumeError as problem:
        return problem.message
    return ""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"encrypted_volume_problem": encrypted_volume_problem}
