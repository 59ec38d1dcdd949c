# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter certificate_names: from plain names to subject alternative names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._certificates import subject_alternative_names

DOCUMENTATION = r"""
name: certificate_names
short_description: Turn names and addresses into subject alternative names
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Writes C(DNS:) before names and C(IP:) before addresses, in one spelling and each only once.
options:
  _input:
    description: DNS names and addresses.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# ["DNS:api1.example.com", "IP:192.0.2.7"]
- name: Show the subject alternative names
  ansible.builtin.debug:
    msg: "{{ ['API1.example.com', '192.0.2.7'] | linda.ops.certificate_names }}"
"""

RETURN = r"""
_value:
  description: The names as M(community.crypto.openssl_csr_pipe) takes them.
  type: list
  elements: str
"""


def certificate_names(names: Sequence[str]) -> list[str]:
    """Return the names as `DNS:...` and `IP:...`."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise AnsibleFilterError("certificate_names wants a list of names")
    return subject_alternative_names(str(name) for name in names)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"certificate_names": certificate_names}
