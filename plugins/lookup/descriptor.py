# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup linda.ops.descriptor: what a role offers on a host that this run does not touch."""

from __future__ import annotations

DOCUMENTATION = r"""
name: descriptor
short_description: The service descriptor of a role on any host of the inventory
version_added: 0.1.0
author:
  - The linda.ops authors (@linda)
description:
  - Renders the descriptor that C(tasks/describe.yml) of a role would publish on a host, from the role's defaults and
    constants and the variables that the inventory gives that host.
  - A play can set facts of its own hosts only. With C(--limit) the other hosts still belong to the fleet, and this
    is how a playbook knows what they offer. Nothing is run on any host.
options:
  _terms:
    description: Names of hosts in the inventory.
    type: list
    elements: str
    required: true
  role:
    description: Name of the role within its collection.
    type: str
    required: true
  collection:
    description: The collection the role is in.
    type: str
    default: linda.ops
  vars_file:
    description:
      - The files of variables that the playbook hands to its roles (C(vars_files)), found as the playbook finds them.
      - They win over the inventory, as they do in a play, and later ones over earlier ones.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what the hosts of a group offer
  ansible.builtin.debug:
    msg: "{{ query('linda.ops.descriptor', *groups['edge'], role='edge') }}"
"""

RETURN = r"""
_value:
  description: The descriptor on each host, in the order of the terms.
  type: list
  elements: dict
  sample:
    - ports:
        - {name: https, port: 443, proto: tcp, from: [any]}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.collection_loader._collection_finder import _get_collection_role_path


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible ships no type information
    """What Ansible loads."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One descriptor a host; see RETURN."""
        self.set_options(var_options=variables, direct=kwargs)
        hostvars = (variables or {}).get("hostvars", {})
        role = str(self.get_option("role"))
        defaults, constants = self._role_variables(role, str(self.get_option("collection")))
        handed = self._handed(variables or {})
        name = f"__{role}_descriptor"
        if name not in constants:
            raise AnsibleLookupError(f"descriptor: role {role} publishes no descriptor ({name} is not in its vars/main.yml)")
        found = []
        for host in terms:
            if host not in hostvars:
                raise AnsibleLookupError(f"descriptor: host {host} is not in the inventory")
            layers = {**defaults, **hostvars.raw_get(host), **handed, **constants, "hostvars": hostvars}
            found.append(self._templar.copy_with_new_env(available_variables=layers).template(constants[name]))
        return found

    def _handed(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the play's `vars_files` say, unrendered."""
        found: dict[str, Any] = {}
        for name in self.get_option("vars_file"):
            found |= self._load(self.find_file_in_search_path(variables, "vars", str(name)))
        return found

    def _load(self, path: str | Path) -> dict[str, Any]:
        return self._loader.load_from_file(str(path), trusted_as_template=True) or {}

    def _role_variables(self, role: str, collection: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The role's defaults/main.yml and vars/main.yml, unrendered."""
        place = _get_collection_role_path(role, [collection])
        if place is None:
            raise AnsibleLookupError(f"descriptor: there is no role {role} in collection {collection}")
        return self._load(Path(place[1], "defaults", "main.yml")), self._load(Path(place[1], "vars", "main.yml"))
