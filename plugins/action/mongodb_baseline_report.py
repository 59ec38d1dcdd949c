# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""linda.ops.mongodb_baseline_report: stores a measurement on the controller and shows it beside the last; never connects to a host."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.linda.ops.plugins.module_utils._mongodb_baseline import compare, read_measurement, table
from ansible_collections.linda.ops.plugins.module_utils._mongodb_baseline_html import render_baseline

ARGUMENTS: dict[str, Any] = {
    "measurement": {"type": "dict", "required": True},
    "directory": {"type": "str", "default": "reports/mongodb-baseline"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Store a measurement, write its page and print its table."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write and show; nothing on any host changes."""
        result: dict[str, Any] = super().run(tmp, task_vars or {})
        _validated, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        base = Path(os.path.abspath(Path(given["directory"]).expanduser()))
        try:
            now = read_measurement(json.dumps(given["measurement"]))
        except (TypeError, ValueError) as problem:
            raise AnsibleActionFail(f"measurement cannot be read: {problem}") from problem
        past = earlier(base, now["cluster"])
        words = table(now, past[-1] if past else None)
        verdicts = {row.name: row.verdict for row in compare(now, past[-1] if past else None)}
        result |= {"changed": False, "table": words, "verdicts": verdicts}
        if not self._task.check_mode:
            try:
                stored = store(base, now, render_baseline(now, past))
            except OSError as problem:
                raise AnsibleActionFail(f"{words}\nThe measurement cannot be stored: {problem}") from problem
            result |= {"stored": str(stored), "report": str(stored.with_suffix(".html"))}
            words += f"\nReport: {stored.with_suffix('.html')}"
        result["msg"] = words
        self._display.display(words, color="yellow" if "slower" in verdicts.values() else None)
        return result


def earlier(base: Path, cluster: str) -> list[dict[str, Any]]:
    """Return the stored measurements of a cluster, oldest first; what cannot be read is not one."""
    found: list[dict[str, Any]] = []
    for path in sorted(base.glob("*.json")):
        if path.is_symlink():
            continue
        try:
            document = read_measurement(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if document["cluster"] == cluster:
            found.append(document)
    return sorted(found, key=lambda one: str(one["taken"]))


def store(base: Path, now: Mapping[str, Any], html: str) -> Path:
    """Write both files under a name that is free and point the links to them; returns the path of the measurement. Raises OSError.

    Each file gets its name when it is complete, the page first: a measurement that is there has its page.
    """
    base.mkdir(parents=True, exist_ok=True)
    name = str(now["taken"]).replace("-", "").replace(":", "")
    stem = next(one for one in (name, *(f"{name}-{number}" for number in range(2, 1000))) if not (base / f"{one}.json").exists())
    for suffix, text in ((".html", html), (".json", json.dumps(now, indent=2) + "\n")):
        fresh = base / f".new-{os.getpid()}{suffix}"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(base / f"{stem}{suffix}")
        link = base / f".latest-{os.getpid()}{suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{stem}{suffix}")
        link.replace(base / f"latest{suffix}")
    return base / f"{stem}.json"
