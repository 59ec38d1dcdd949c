# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of linda.ops.check_fleet: judges what the inventory says about the fleet as a whole; never connects to a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.linda.ops.plugins.module_utils import _inputs as inputs
from ansible_collections.linda.ops.plugins.plugin_utils._rendering import UNSET, Rendered, origin_of, render

ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str"},
    "required_groups": {"type": "list", "elements": "str", "default": []},
    "also_known": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Check the fleet's own variables and groups, once for all hosts."""

    TRANSFERS_FILES = False
    BYPASS_HOST_LOOP = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge every host; the result fails with one message that holds all violations of the fleet."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _validated, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        groups: Mapping[str, list[str]] = variables.get("groups") or {}
        hosts = arguments["hosts"] if arguments["hosts"] is not None else list(groups.get("all", []))
        if unknown := [host for host in hosts if host not in variables["hostvars"]]:
            raise AnsibleActionFail(f"the inventory has no host {', '.join(unknown)}")
        rendered = {host: self._render_host(variables["hostvars"].raw_get(host)) for host in hosts}
        lines = [
            f"group {group} has no host. Put at least one host in the group {group} of the inventory."
            for group in arguments["required_groups"]
            if not groups.get(group)
        ]
        violations = {
            host: self._violations(variables["hostvars"].raw_get(host), values, set(arguments["also_known"]))
            for host, values in rendered.items()
        }
        addresses = {host: values["fleet_address"].value for host, values in rendered.items() if "fleet_address" in values}
        for host, found in inputs.check_addresses(addresses).items():
            violations[host] += [replace(one, origin=rendered[host]["fleet_address"].origin) for one in found]
        if any(violations.values()):
            lines.append(inputs.message_of_hosts(violations))
        result.update(changed=False, checked=len(hosts), msg=f"The inventory describes {len(hosts)} hosts well.")
        if lines:
            result.update(failed=True, msg="\n".join(lines))
        return result

    def _render_host(self, raw: Mapping[str, Any]) -> dict[str, Rendered]:
        """The fleet's variables of one host."""
        templar = self._templar.copy_with_new_env(available_variables=raw)
        return {name: render(templar, raw[name]) for name in inputs.FLEET_OPTIONS if name in raw}

    def _violations(self, raw: Mapping[str, Any], rendered: Mapping[str, Rendered], also_known: set[str]) -> list[inputs.Violation]:
        """What is wrong with the fleet's variables of one host."""
        options = inputs.FLEET_OPTIONS
        found = []
        for name in inputs.unknown_names((str(key) for key in raw), "fleet_", set(options) | also_known):
            key = next(key for key in raw if key == name)
            violation = inputs.unknown_variable(name, raw[name], "the fleet", options, "fleet_")
            found.append(replace(violation, origin=origin_of(key) or origin_of(raw[name])))
        for name, option in options.items():
            if name in rendered:
                found += rendered[name].violations(name, option, raw)
            elif option.required:
                found.append(inputs.missing(name, option))
        broken = {inputs.root(one.variable) for one in found}
        for path, formats in inputs.FLEET_FORMATS.items():
            name = inputs.root(path)
            if name in rendered and name not in broken and rendered[name].value is not UNSET:
                checked = inputs.check_formats(path, formats, rendered[name].value, options)
                found += [replace(one, origin=rendered[name].origin) for one in checked]
        return found
