# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter authorized_keys_files: from operators' accounts to the files that hold their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: authorized_keys_files
short_description: Make the key files of accounts
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Turns a list of accounts into the O(ignore:files) of M(linda.ops.config_tree), one file of public keys for each account.
  - Accounts that are absent or have no keys get no file.
options:
  _input:
    description: Accounts with C(name), C(keys) and C(state).
    type: list
    elements: dict
    required: true
  directory:
    description: Directory of the files, relative to the destination of the tree.
    type: str
    required: true
"""

EXAMPLES = r"""
# [{"path": "linda/authorized_keys/ada", "content": "ssh-ed25519 AAAA ada@example.com\n"}]
- name: Show the key files
  ansible.builtin.debug:
    msg: "{{ accounts | linda.ops.authorized_keys_files('linda/authorized_keys') }}"
  vars:
    accounts:
      - name: ada
        keys: [ssh-ed25519 AAAA ada@example.com]
      - name: charles
        state: absent
"""

RETURN = r"""
_value:
  description: One dictionary with C(path) and C(content) for each account that has keys.
  type: list
  elements: dict
"""


def authorized_keys_files(accounts: Sequence[Mapping[str, Any]], directory: str) -> list[dict[str, str]]:
    """Return `{path, content}` for each present account with keys; one key a line, in the given order."""
    if isinstance(accounts, str) or not isinstance(accounts, Sequence):
        raise AnsibleFilterError("authorized_keys_files wants a list of accounts")
    return [
        {"path": f"{directory}/{account['name']}", "content": "".join(f"{key.strip()}\n" for key in account["keys"])}
        for account in accounts
        if account.get("state", "present") == "present" and account.get("keys")
    ]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"authorized_keys_files": authorized_keys_files}
