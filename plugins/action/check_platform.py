# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of linda.ops.check_platform: judges facts that were gathered before; never connects to a host."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.linda.ops.plugins.module_utils import _inputs as inputs


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Refuse a host whose platform this collection does not support."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge `ansible_facts` of the host; fails with one message on an unsupported platform."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        self.validate_argument_spec(argument_spec={})
        facts = variables.get("ansible_facts") or {}
        distribution, version = facts.get("distribution"), facts.get("distribution_version")
        if not distribution or not version:
            raise AnsibleActionFail("the platform of this host is not known yet; gather facts first (gather_subset: [distribution])")
        try:
            allowed = boolean(self._templar.template(variables.get("fleet_allow_untested_platform", False)))
        except TypeError as error:
            raise AnsibleActionFail("fleet_allow_untested_platform is not true or false. Write true or false.") from error
        violations = inputs.check_platform(str(distribution), str(version), allowed)
        result.update(changed=False, msg=f"{distribution} {version} is supported.")
        if violations:
            result.update(failed=True, msg=inputs.message(str(variables["inventory_hostname"]), violations))
        return result
