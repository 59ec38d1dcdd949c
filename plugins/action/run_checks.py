# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of linda.ops.run_checks: reads checks and secrets, runs what is seen from here, sends the rest to its host."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import FAIL, Result, describe, result_of, run_all, skipped, summary
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import (
    CONTROLLER,
    SELF,
    Check,
    InvalidCheck,
    parse_checks,
    with_default_authority,
)
from ansible_collections.linda.ops.plugins.modules.run_checks import ARGUMENTS


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Run checks from the controller, and those of the task's host on that host."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the checks; the result fails when one of them failed, unless that is not wanted."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _validated, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        # Through JSON, so that checks are plain data, whatever templating made of them.
        raws = [with_default_authority(raw, given["ca_file"]) for raw in json.loads(json.dumps(given["checks"]))]
        host = str(variables.get("inventory_hostname", ""))
        started = time.time()
        try:
            chosen = _choose(parse_checks(raws), given["origin"], host)
        except InvalidCheck as problem:
            return result | {"failed": True, "msg": f"No check was run. {problem}", "results": [], "summary": summary([])}
        if self._task.check_mode:
            results = [skipped(check, "check mode") for check in chosen]
        else:
            here = [check for check in chosen if check.origin == CONTROLLER]
            results = run_all(here, _secrets(here, variables), given["concurrency"])
            there = [check for check in chosen if check.origin == SELF]
            if there:
                results += self._on_host(there, raws, given["concurrency"], variables)
            order = {check.key: index for index, check in enumerate(chosen)}
            results.sort(key=lambda one: order[(one.host, one.role, one.name)])
        failed = [one for one in results if one.status == FAIL]
        result |= {
            "changed": False,
            "results": [one.as_dict() for one in results],
            "summary": summary(results),
            "started": started,
            "ended": time.time(),
            "msg": f"{len(results) - len(failed)} of {len(results)} checks passed or were skipped.",
        }
        if failed and given["fail_task"]:
            listed = "\n".join(f"- {describe(one)}" for one in failed)
            result |= {"failed": True, "msg": f"{len(failed)} of {len(results)} checks failed:\n{listed}"}
        return result

    def _on_host(self, checks: Sequence[Check], raws: Sequence[object], concurrency: int, variables: dict[str, Any]) -> list[Result]:
        """All checks seen from the task's host in one module run; whatever keeps that run from happening fails each of them."""
        keys = {check.key for check in checks}
        chosen = [raw for raw in raws if isinstance(raw, Mapping) and (raw["host"], raw["role"], raw["name"]) in keys]
        secrets: dict[str, str] = {}
        for values in _secrets(checks, variables).values():
            secrets |= values
        arguments = {"checks": chosen, "concurrency": concurrency, "secrets": secrets}
        try:
            answer = self._execute_module(module_name="linda.ops.run_checks", module_args=arguments, task_vars=variables)
        except AnsibleConnectionFailure as problem:
            return [result_of(check, FAIL, reason=f"the host cannot be reached: {_first_line(problem)}") for check in checks]
        except AnsibleError as problem:
            return [result_of(check, FAIL, reason=f"the checks could not be run there: {_first_line(problem)}") for check in checks]
        if answer.get("failed") or not isinstance(answer.get("results"), list):
            reason = f"the checks could not be run there: {_first_line(answer.get('msg', 'no answer from the module'))}"
            return [result_of(check, FAIL, reason=reason) for check in checks]
        return [Result.from_dict(one) for one in answer["results"]]


def _first_line(problem: object) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0] if lines else type(problem).__name__


def _choose(checks: Sequence[Check], origin: str, host: str) -> list[Check]:
    """The checks this task runs; raises InvalidCheck when one can only be seen from another host."""
    if origin == CONTROLLER:
        return [check for check in checks if check.origin == CONTROLLER]
    if origin == SELF:
        return [check for check in checks if check.origin == SELF and check.host == host]
    strangers = [check for check in checks if check.origin == SELF and check.host != host]
    if strangers:
        raise InvalidCheck(
            f"host {check.host}, role {check.role}, check {check.name} is seen from its own host, but the task runs for {host}"
            for check in strangers
        )
    return list(checks)


def _secrets(checks: Sequence[Check], variables: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """{host: {variable: value}} for all variables the checks name; what is undefined or cannot be read is left out."""
    found: dict[str, dict[str, str]] = {}
    for check in checks:
        for name in check.secret_variables():
            try:
                value = variables["hostvars"][check.host][name]
            except (KeyError, AnsibleError):
                continue
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                found.setdefault(check.host, {})[name] = str(value)
    return found
