# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""linda.ops.validation_report: gathers results, writes the report on the controller, and judges it; never connects to a host."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import FAIL, Result, describe
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import InvalidCheck, parse_checks
from ansible_collections.linda.ops.plugins.module_utils._report import (
    EMPTY,
    Report,
    failures,
    headline,
    lost,
    merge,
    render_json,
    render_junit,
)
from ansible_collections.linda.ops.plugins.module_utils._report_html import render_html

ARGUMENTS: dict[str, Any] = {
    "checks": {"type": "list", "elements": "dict", "required": True},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "registered": {"type": "list", "elements": "str", "required": True},
    "directory": {"type": "str", "required": True},
    "fleet": {"type": "str", "default": "fleet"},
    "environment": {"type": "str", "default": ""},
    "allow_empty": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Write the report of a validation and judge it."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the report; the result fails when a check failed, or when there was none."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _validated, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            report = _report(given, variables)
        except InvalidCheck as problem:
            raise AnsibleActionFail(f"checks cannot be read: {problem}") from problem
        line = headline(report)
        result |= {
            "changed": False,
            "verdict": report.verdict,
            "counts": report.counts,
            "failed_checks": [describe(one) for one in report.failed],
            "msg": line,
        }
        if self._task.check_mode:
            return result
        try:
            page = write(report, Path(given["directory"]))
        except OSError as problem:
            raise AnsibleActionFail(f"{line}\nThe report cannot be written: {problem}") from problem
        result["report"] = str(page)
        self._display.display(f"{line} Report: {page}", color="red" if report.verdict == FAIL else None)
        if report.verdict == FAIL:
            result |= {"failed": True, "msg": f"{line}\n{failures(report)}\nReport: {page}"}
        elif report.verdict == EMPTY and not given["allow_empty"]:
            result |= {"failed": True, "msg": f"{line} Set validate_allow_empty: true if that is meant. Report: {page}"}
        return result


def _report(given: Mapping[str, Any], variables: Mapping[str, Any]) -> Report:
    """The report over everything that the hosts registered."""
    runs = list(_registered(given["hosts"], given["registered"], variables["hostvars"]))
    now = time.time()
    present = variables.get("ansible_play_hosts", given["hosts"])
    gone = [lost(str(host)) for host in given["hosts"] if host not in present]
    return Report(
        fleet=given["fleet"],
        environment=given["environment"],
        started=min((float(run["started"]) for run in runs), default=now),
        ended=max((float(run["ended"]) for run in runs), default=now),
        who=f"{_user()}@{socket.gethostname()}",
        hosts=tuple(str(host) for host in given["hosts"]),
        results=merge(
            parse_checks(json.loads(json.dumps(given["checks"]))),
            [*(Result.from_dict(one) for run in runs for one in run["results"]), *gone],
        ),
    )


def _registered(hosts: Iterable[str], names: Iterable[str], hostvars: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What run_checks registered under one of the names on one of the hosts, as far as it came to results."""
    for host in hosts:
        for name in names:
            with contextlib.suppress(KeyError, AnsibleError):
                run = hostvars[host][name]
                if isinstance(run, Mapping) and "started" in run and "ended" in run and "results" in run:
                    yield run


def _user() -> str:
    with contextlib.suppress(OSError, KeyError):
        return getpass.getuser()
    return str(os.getuid())


def write(report: Report, base: Path) -> Path:
    """Write the report into a new directory under `base` and point `latest` to it; returns the path of the page.

    The directory gets its name when it is complete, so that nobody sees half a report. Raises OSError.
    """
    base = Path(os.path.abspath(base.expanduser()))
    base.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
    try:
        for name, render in (("report.html", render_html), ("report.json", render_json), ("junit.xml", render_junit)):
            (scratch / name).write_text(render(report), encoding="utf-8")
        scratch.chmod(0o755)
        final = _take_name(scratch, base, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(report.started)))
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    link = base / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    try:
        link.replace(base / "latest")
    except OSError:
        link.unlink(missing_ok=True)
        raise
    return final / "report.html"


def _take_name(scratch: Path, base: Path, name: str) -> Path:
    """Rename the finished directory to `name`, or `name-2` and so on when it is taken."""
    for number in range(1, 1000):
        final = base / (name if number == 1 else f"{name}-{number}")
        if not final.exists():
            with contextlib.suppress(FileExistsError):
                return scratch.rename(final)
    raise FileExistsError(f"{base / name} and 999 more are taken")
