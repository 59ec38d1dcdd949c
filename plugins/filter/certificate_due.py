# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter certificate_due: why a host needs a new certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._certificates import (
    CRYPTOGRAPHY_MISSING,
    HAS_CRYPTOGRAPHY,
    now_utc,
    reasons_to_issue,
)

DOCUMENTATION = r"""
name: certificate_due
short_description: Tell why a new certificate is due
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares a certificate with the key, names and authority that it should have, and looks at the days it has left.
  - It decides on the controller, so that nothing has to be run for a certificate that is good.
requirements:
  - cryptography (on the controller)
options:
  _input:
    description: The certificate in PEM form; empty when there is none.
    type: str
    required: true
  authority:
    description: The certificate of the authority in PEM form; empty when there is none.
    type: str
    required: true
  fingerprint:
    description: SHA-256 fingerprint of the host's public key, as M(community.crypto.openssl_privatekey) returns it; empty without a key.
    type: str
    required: true
  names:
    description: DNS names and addresses that the certificate should have, in any order.
    type: list
    elements: str
    required: true
  renew_before:
    description: With fewer days left than this a new one is due.
    type: int
    required: true
  unit:
    description: The organisational unit that the certificate's subject should have; empty for none.
    type: str
    default: ""
"""

EXAMPLES = r"""
# ["there is none yet"]
- name: Show why a certificate is due
  ansible.builtin.debug:
    msg: "{{ '' | linda.ops.certificate_due(authority='', fingerprint='', names=['api1.example.com'], renew_before=30) }}"
"""

RETURN = r"""
_value:
  description: The reasons in words; an empty list when the certificate is good.
  type: list
  elements: str
"""


def certificate_due(
    certificate: str, authority: str, fingerprint: str, names: Sequence[str], renew_before: int, unit: str = ""
) -> list[str]:
    """Return the reasons for a new certificate, judged at this moment."""
    if not HAS_CRYPTOGRAPHY:
        raise AnsibleFilterError(f"certificate_due: {CRYPTOGRAPHY_MISSING}")
    try:
        return reasons_to_issue(
            str(certificate), str(authority), str(fingerprint), [str(name) for name in names], int(renew_before), now_utc(), str(unit)
        )
    except ValueError as error:
        raise AnsibleFilterError(f"certificate_due cannot read the authority's certificate: {error}") from error


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"certificate_due": certificate_due}
