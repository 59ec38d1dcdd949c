# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter authority_problem: what makes a certificate authority unusable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils import _certificates

DOCUMENTATION = r"""
name: authority_problem
short_description: Tell what makes a certificate authority unusable
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Judges the key and certificate of an own authority, and the passphrase, before anything is signed with them.
  - An authority that does not exist yet has no problem.
requirements:
  - cryptography (on the controller)
options:
  _input:
    description: The authority's encrypted private key in PEM form; empty when there is none.
    type: str
    required: true
  certificate:
    description: The authority's certificate in PEM form; empty when there is none.
    type: str
    required: true
  passphrase:
    description: What opens the key.
    type: str
    required: true
  needed_days:
    description: How many days it must still be good for.
    type: int
    required: true
"""

EXAMPLES = r"""
# ""
- name: An authority that does not exist yet has no problem
  ansible.builtin.debug:
    msg: "{{ '' | linda.ops.authority_problem(certificate='', passphrase='not used', needed_days=365) }}"
"""

RETURN = r"""
_value:
  description: The problem as the end of a sentence; empty when there is none. It never holds the passphrase.
  type: str
"""


def authority_problem(key: str, certificate: str, passphrase: str, needed_days: int) -> str:
    """Return the problem of an authority, judged at this moment."""
    if not _certificates.HAS_CRYPTOGRAPHY:
        raise AnsibleFilterError(f"authority_problem: {_certificates.CRYPTOGRAPHY_MISSING}")
    return _certificates.authority_problem(str(key), str(certificate), str(passphrase), int(needed_days), _certificates.now_utc())


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"authority_problem": authority_problem}
