# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.openpgp_fingerprint."""

from __future__ import annotations

from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._openpgp import fingerprint

DOCUMENTATION = r"""
name: openpgp_fingerprint
short_description: Fingerprint of an OpenPGP public key
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Reads the fingerprint of an ASCII-armoured OpenPGP public key, so that a key can be compared with what its owner published before
    anything trusts it. No program and no keyring is used.
  - Fails when the text holds no key, a damaged one, or more than one, since a package manager trusts all keys of a file.
options:
  _input:
    description: The key in ASCII armour.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse a repository key that is not the one we know
  ansible.builtin.assert:
    that: "(repository_key | linda.ops.openpgp_fingerprint) == '4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05'"
  when: repository_key is defined
"""

RETURN = r"""
_value:
  description: The fingerprint as upper-case hexadecimal digits.
  type: str
  sample: 4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05
"""


def openpgp_fingerprint(armored: str) -> str:
    """Return the fingerprint; see RETURN."""
    try:
        return fingerprint(str(armored))
    except ValueError as problem:
        raise AnsibleFilterError(f"openpgp_fingerprint: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"openpgp_fingerprint": openpgp_fingerprint}
