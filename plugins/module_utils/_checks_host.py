# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probes `unit` and `argv`: what is seen from inside a machine. Standard library only."""

from __future__ import annotations

import os
import re
import signal
import subprocess

from ansible_collections.linda.ops.plugins.module_utils._checks_net import CheckFailed, Deadline, Outcome, words
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import ArgvCheck, UnitCheck
from ansible_collections.linda.ops.plugins.module_utils._fields import shown

_OUTPUT_LIMIT = 1 << 20
_ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")


def _run(argv: tuple[str, ...], deadline: Deadline) -> tuple[int, str, str]:
    """Exit code (negative: signal), standard output and error of a command in a process group of its own."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        process = subprocess.Popen(  # noqa: S603  # the descriptor of a role says what runs; there is no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as problem:
        raise CheckFailed(f"{argv[0]} cannot be started: {words(problem)}") from problem

    def kill() -> None:
        # Once it has been waited for, its number may belong to somebody else.
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)

    deadline.on_expiry(kill)
    try:
        out, err = process.communicate(timeout=deadline.remaining())
    except (subprocess.TimeoutExpired, TimeoutError) as problem:
        kill()
        process.communicate()
        raise CheckFailed(f"{argv[0]} did not end within {deadline.seconds:g} s") from problem
    return process.returncode, out[:_OUTPUT_LIMIT].decode("utf-8", "replace"), err[:_OUTPUT_LIMIT].decode("utf-8", "replace")


def probe_unit(check: UnitCheck, deadline: Deadline) -> Outcome:
    """The state of a systemd unit."""
    if not os.path.isdir("/run/systemd/system"):
        raise CheckFailed("systemd does not run on this machine")
    fields = ("LoadState", "ActiveState", "SubState", "UnitFileState")
    code, out, err = _run(("systemctl", "show", "--no-pager", f"--property={','.join(fields)}", "--", check.unit), deadline)
    if code != 0:
        raise CheckFailed(f"systemctl ended with {code}", err)
    return judge_unit(check, dict(line.split("=", 1) for line in out.splitlines() if "=" in line))


def judge_unit(check: UnitCheck, state: dict[str, str]) -> Outcome:
    """Compare what systemctl shows with what is wanted (pure)."""
    load, active, enabled = state.get("LoadState", ""), state.get("ActiveState", ""), state.get("UnitFileState", "")
    evidence = f"{load or 'unknown'}, {active or 'unknown'} ({state.get('SubState', '')}), {enabled or 'no unit file'}"
    problems: list[str] = []
    if load == "not-found":
        problems.append(f"{check.unit} does not exist")
    elif load not in ("loaded", "masked"):
        problems.append(f"{check.unit} cannot be loaded ({load})")
    else:
        is_active, is_enabled = active in ("active", "reloading"), enabled in _ENABLED
        if check.active is not None and is_active != check.active:
            problems.append(f"{check.unit} is {active}, expected {'active' if check.active else 'inactive'}")
        if check.enabled is not None and is_enabled != check.enabled:
            problems.append(f"{check.unit} is {enabled or 'without a unit file'}, expected {'enabled' if check.enabled else 'disabled'}")
    if problems:
        raise CheckFailed("; ".join(problems), evidence)
    return Outcome(evidence)


def probe_argv(check: ArgvCheck, deadline: Deadline) -> Outcome:
    """Run a command, compare its exit code and output."""
    code, out, err = _run(check.argv, deadline)
    problems: list[str] = []
    if code not in check.exit_codes:
        ended = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        problems.append(f"{ended}, expected {' or '.join(str(wanted) for wanted in check.exit_codes)}")
    if check.stdout_regex is not None and not re.search(check.stdout_regex, out):
        problems.append(f"standard output does not match {shown(check.stdout_regex)}")
    if check.stderr_regex is not None and not re.search(check.stderr_regex, err):
        problems.append(f"standard error does not match {shown(check.stderr_regex)}")
    if problems:
        raise CheckFailed("; ".join(problems), (err.strip() or out))
    return Outcome(out.strip() or f"exit code {code}")
