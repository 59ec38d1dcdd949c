# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.secret_files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

DOCUMENTATION = r"""
name: secret_files
short_description: Entries of config_tree's files, one for each secret
version_added: 0.1.0
author:
  - The linda.ops authors (@linda)
description:
  - Makes the entries of O(linda.ops.config_tree#module:files) that write secrets, one to a file. The entries hold names only; the template
    looks the value up by O(_input), so that no secret is among the arguments of a task.
positional: _input, directory, template
options:
  _input:
    description: Names of the secrets, which are the names of the files too. In the template the variable C(secret_name) has the name.
    type: list
    elements: str
    required: true
  directory:
    description: Directory of the files, as O(linda.ops.config_tree#module:files[].path) wants it.
    type: str
    required: true
  template:
    description: Template that writes the value of C(secret_name).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the entries for two secrets
  ansible.builtin.debug:
    msg: "{{ ['DATABASE_URI', 'TOKEN'] | linda.ops.secret_files('shop/secrets', 'secret.j2') }}"
"""

RETURN = r"""
_value:
  description: The entries, by name.
  type: list
  elements: dict
  sample:
    - path: shop/secrets/TOKEN
      template: secret.j2
      vars:
        secret_name: TOKEN
"""


def secret_files(names: Iterable[str], directory: str, template: str) -> list[dict[str, object]]:
    """The entries of `files`; see RETURN."""
    return [{"path": f"{directory}/{name}", "template": template, "vars": {"secret_name": name}} for name in sorted(names)]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters of this file by name."""
        return {"secret_files": secret_files}
