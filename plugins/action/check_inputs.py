# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of linda.ops.check_inputs: renders the inputs of a role and judges them; never connects to a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.collection_loader._collection_finder import _get_collection_role_path
from ansible_collections.linda.ops.plugins.module_utils import _inputs as inputs
from ansible_collections.linda.ops.plugins.plugin_utils._rendering import UNSET, Rendered, is_encrypted, origin_of, render

ARGUMENTS: dict[str, Any] = {
    "role": {"type": "str", "required": True},
    "entry_point": {"type": "str", "default": "main"},
    "formats": {"type": "dict", "default": {}},
    "rules": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "that": {"type": "raw", "required": True},
            "variable": {"type": "str", "required": True},
            "problem": {"type": "str", "required": True},
            "remedy": {"type": "str", "required": True},
        },
    },
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Check the inputs of a role on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False

    @classmethod
    def finalize_task_arg(cls, name: str, value: Any, templar: Any, context: Any) -> Any:
        """Leave the rules unrendered: a rule about a broken input must not hide the message about that input."""
        return value if name == "rules" else super().finalize_task_arg(name, value, templar, context)

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge the inputs; the result fails with one message that holds every violation of this host."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _validated, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            spec = self._load_spec(arguments["role"], arguments["entry_point"], variables)
            rendered = {name: render(self._templar, variables[name]) for name in spec.options if name in variables}
            violations = self._violations(spec, rendered, arguments, variables)
        except ValueError as error:  # a mistake in the role, not in the inputs
            raise AnsibleActionFail(f"{arguments['role']}: {error}") from error
        secrets = [text for name, item in rendered.items() for text in item.secrets(spec.options[name])]
        result["changed"] = False
        result["checked"] = len(rendered)
        result["violations"] = [
            {key: inputs.scrub(value, secrets) for key, value in asdict(one).items() if value is not None} for one in violations
        ]
        result["msg"] = f"{len(rendered)} inputs of role {spec.role} are good."
        if violations:
            result["failed"] = True
            result["msg"] = inputs.message(str(variables.get("inventory_hostname", "localhost")), violations, secrets)
        return result

    def _load_spec(self, role: str, entry_point: str, variables: Mapping[str, Any]) -> inputs.RoleSpec:
        """The role's argument specification: of the running role, of a role beside it, or of a role in a collection."""
        short = role.rpartition(".")[2]
        candidates = []
        if running := variables.get("role_path"):
            candidates += [Path(str(running)), Path(str(running)).parent / short]
        collections = list(self._task.collections or [])
        if found := _get_collection_role_path(role, [*collections, "linda.ops"]):
            candidates.append(Path(found[1]))
        for path in candidates:
            specification = path / "meta" / "argument_specs.yml"
            if path.name == short and specification.is_file():
                return inputs.RoleSpec.parse(short, self._loader.load_from_file(str(specification)) or {}, entry_point)
        raise ValueError(
            "no role of this name with a meta/argument_specs.yml was found; give the role's full name (namespace.collection.role)"
        )

    def _violations(
        self, spec: inputs.RoleSpec, rendered: Mapping[str, Rendered], arguments: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> list[inputs.Violation]:
        """Names first, then each input with everything about it, then the rules over several inputs."""
        prefix = f"{spec.role}_"
        others = [f"{name.rpartition('.')[2]}_" for name in variables.get("ansible_role_names") or []]
        found = []
        for name in inputs.unknown_names((str(key) for key in variables), prefix, spec.known, others):
            key = next(key for key in variables if key == name)
            violation = inputs.unknown_variable(name, variables[name], f"role {spec.role}", spec.options, prefix)
            shown = inputs.SECRET if is_encrypted(variables[name]) else violation.shown
            found.append(replace(violation, shown=shown, origin=origin_of(key) or origin_of(variables[name])))
        for name, option in spec.options.items():
            if name in rendered:
                found += rendered[name].violations(name, option, variables)
            elif option.required:
                found.append(inputs.missing(name, option))
        found += self._check_formats(spec, rendered, arguments["formats"], {one.variable for one in found})
        found = inputs.without_consequences(found, variables)
        broken = {inputs.root(one.variable) for one in found}
        for rule in arguments["rules"]:
            found += self._check_rule(rule, spec, rendered, broken, variables)
        return found

    def _check_formats(
        self, spec: inputs.RoleSpec, rendered: Mapping[str, Rendered], formats: Mapping[str, Any], broken: set[str]
    ) -> list[inputs.Violation]:
        found = []
        for path, names in formats.items():
            name = inputs.parse_path(path)[0]
            if name not in spec.options:
                raise ValueError(f"formats names {name}, which the argument specification lacks")
            value = rendered[name].value if name in rendered and rendered[name].value is not UNSET else None
            for violation in inputs.check_formats(path, names, value, spec.options):
                if violation.variable not in broken:  # one word about a value is enough
                    broken.add(violation.variable)
                    found.append(replace(violation, origin=rendered[name].origin))
        return found

    def _check_rule(
        self,
        rule: Mapping[str, Any],
        spec: inputs.RoleSpec,
        rendered: Mapping[str, Rendered],
        broken: set[str],
        variables: Mapping[str, Any],
    ) -> list[inputs.Violation]:
        """One rule; it is left out when an input that it is about is bad already."""
        steps = inputs.parse_path(rule["variable"])
        if steps[0] in broken or inputs.mentions(rule["that"], broken, variables):
            return []
        item = rendered.get(steps[0])
        origin = item.origin if item else None
        option = inputs.option_at(steps, spec.options)
        try:
            verdict = self._templar.template(rule["that"])
            if isinstance(verdict, str) and verdict in {"True", "False"}:
                verdict = verdict == "True"
            if not isinstance(verdict, bool):
                raise ValueError(f"the rule about {rule['variable']} is neither true nor false: {rule['that']}")
            if verdict:
                return []
            problem, remedy = str(self._templar.template(rule["problem"])), str(self._templar.template(rule["remedy"]))
        except AnsibleError as error:
            if broken:
                return []
            reason = "" if option is not None and option.secret else f" ({error})"
            return [inputs.Violation(rule["variable"], f"cannot be judged{reason}", "Correct what the message names", None, origin)]
        shown = None
        if item is not None and item.value is not UNSET:
            values = [value for _path, value in inputs.select(steps[1:], item.value, steps[0])]
            if option is not None and option.secret:
                shown = inputs.SECRET
            elif len(values) == 1:
                shown = inputs.show(inputs.redact(values[0], option))
        return [inputs.Violation(rule["variable"], problem, remedy, shown, origin)]
