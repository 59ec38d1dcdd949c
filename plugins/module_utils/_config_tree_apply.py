# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Making a daemon take its configuration: commands and systemd units."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError, full_path, triggered

COMMAND_LIMIT = 900
"""Seconds after which a command of validate or apply counts as hanging."""

UNIT_DIRECTORIES = tuple(f"{base}/systemd/system" for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))

_STRENGTH = {"start": 0, "reload": 1, "restart": 2}
_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,CanReload,Type,RemainAfterExit,NeedDaemonReload,Result"
_ENABLED = ("enabled", "static", "alias", "indirect", "generated", "transient")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitState:
    """What systemd says of a unit; an unknown unit is not loaded and not active."""

    loaded: str = "not-found"
    active: str = "inactive"
    file_state: str = ""
    can_reload: bool = False
    once: bool = False
    stale: bool = False
    result: str = "success"

    @property
    def running(self) -> bool:
        """Tell whether the unit serves (a reloading one does)."""
        return self.active in ("active", "reloading")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Action:
    """One thing to do: ``argv`` runs a command, every other verb is one of systemctl's."""

    verb: str
    unit: str = ""
    argv: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the action for people, for example ``reload nginx.service``."""
        return " ".join(self.argv) if self.verb == "argv" else f"{self.verb} {self.unit}".strip()


def unit_name(name: str) -> str:
    """Return a unit's full name; a bare one is a service."""
    suffixes = (".service", ".socket", ".timer", ".target", ".path", ".mount", ".slice", ".automount", ".swap", ".scope")
    return name if name.endswith(suffixes) else f"{name}.service"


def plan_actions(
    entries: Sequence[Mapping[str, Any]],
    changed: Iterable[str],
    *,
    everything: bool,
    states: Mapping[str, UnitState],
    dest: str,
    systemd: bool = True,
) -> list[Action]:
    """Return what to do, in order and each thing once.

    ``changed`` are the keys that differ from the applied tree; ``everything`` says that this tree's last application is not known to have
    finished. A unit that is not running is started even when nothing changed. Without ``systemd`` there is nobody to read unit files.
    """
    changed = set(changed)
    actions: dict[tuple[str, ...], Action] = {}
    if systemd and (any(state.stale for state in states.values()) or _touches_units(changed, dest)):
        actions["daemon-reload",] = Action(verb="daemon-reload")
    for entry in entries:
        hit = everything or triggered(entry["paths"], changed, dest)
        if entry["argv"]:
            if hit:
                actions[("argv", *entry["argv"])] = Action(verb="argv", argv=tuple(entry["argv"]))
            continue
        unit = unit_name(entry["unit"])
        state = states[unit]
        enable = _enablement(entry["enabled"], state)
        if enable:
            actions["enable", unit] = Action(verb=enable, unit=unit)
        verb = _verb(entry["action"], state, hit=hit)
        known = actions.get(("unit", unit))
        if verb and (known is None or _STRENGTH[verb] > _STRENGTH[known.verb]):
            actions["unit", unit] = Action(verb=verb, unit=unit)
    return list(actions.values())


def _touches_units(changed: Iterable[str], dest: str) -> bool:
    return any(full_path(path, dest).startswith(tuple(f"{directory}/" for directory in UNIT_DIRECTORIES)) for path in changed)


def _enablement(wanted: bool | None, state: UnitState) -> str:
    if wanted is None:
        return ""
    if wanted:
        return "" if state.file_state in _ENABLED else "enable"
    return "disable" if state.file_state in ("enabled", "enabled-runtime", "linked") else ""


def _verb(action: str, state: UnitState, *, hit: bool) -> str:
    if not state.running:
        return "" if state.once and not hit else "start"
    if not hit or action == "start":
        return ""
    return "restart" if action == "reload" and not state.can_reload else action


def environment() -> dict[str, str]:
    """Return the environment of every command: plain English messages, administrators' programs within reach."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "LC_ALL": "C.UTF-8", "PATH": f"{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def find_program(name: str) -> str | None:
    """Return the path of a program as a command would find it, or None."""
    return shutil.which(name, path=environment()["PATH"])


def run_command(argv: Sequence[str], limit: float = COMMAND_LIMIT) -> str:
    """Run a command and return what it said.

    :raises ConfigTreeError: if it is missing, hangs, or exits with anything but 0; the message ends in its own words.
    """
    name = " ".join(argv)
    program = find_program(argv[0])
    if program is None:
        raise ConfigTreeError(f"{name}: {argv[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - the commands are the role's, given as a list, without a shell
            [program, *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, env=environment(), cwd="/", check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigTreeError(f"{name} did not end within {limit:g} seconds") from error
    except OSError as error:
        raise ConfigTreeError(f"{name}: {error.strerror}") from error
    said = (done.stderr + b"\n" + done.stdout).decode("utf-8", "replace").strip()
    if done.returncode != 0:
        ending = f"exit status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        raise ConfigTreeError(f"{name} failed ({ending}): {said or 'it said nothing'}")
    return said


def have_systemd() -> bool:
    """Tell whether systemd runs this host (the test that sd_booted(3) makes)."""
    return os.path.isdir("/run/systemd/system")


def unit_states(units: Iterable[str]) -> dict[str, UnitState]:
    """Return the states of units by full name, asked in one call.

    :raises ConfigTreeError: if this host is not run by systemd.
    """
    names = sorted(set(units))
    if not names:
        return {}
    if not have_systemd():
        raise ConfigTreeError(f"apply: systemd does not run this host, so {', '.join(names)} cannot be handled; use argv steps instead")
    blocks = run_command(["systemctl", "show", f"--property={_PROPERTIES}", "--", *names]).split("\n\n")
    return {name: _parse_state(block) for name, block in zip(names, blocks, strict=True)}


def _parse_state(text: str) -> UnitState:
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return UnitState(
        loaded=values.get("LoadState", "not-found"),
        active=values.get("ActiveState", "inactive"),
        file_state=values.get("UnitFileState", ""),
        can_reload=values.get("CanReload") == "yes",
        once=values.get("Type") == "oneshot" and values.get("RemainAfterExit") != "yes",
        stale=values.get("NeedDaemonReload") == "yes",
        result=values.get("Result", "success"),
    )


def perform(action: Action) -> str:
    """Do one action and return what was really done, which depends on the state that the unit is in by now.

    :raises ConfigTreeError: if it fails; for a unit the message holds its last log lines.
    """
    if action.verb == "argv":
        run_command(action.argv)
        return action.describe()
    if not action.unit or action.verb in ("enable", "disable", "stop"):
        run_command(["systemctl", action.verb, *(["--", action.unit] if action.unit else [])])
        return action.describe()
    state = unit_states([action.unit])[action.unit]
    if state.loaded in ("not-found", "masked", "bad-setting", "error"):
        raise ConfigTreeError(f"{action.unit} cannot be handled: systemd says {state.loaded}")
    verb = action.verb
    if not state.running:
        verb = "start"
        run_command(["systemctl", "reset-failed", "--", action.unit])
    elif verb == "reload" and not state.can_reload:
        verb = "restart"
    try:
        run_command(["systemctl", verb, "--", action.unit])
    except ConfigTreeError as error:
        raise ConfigTreeError(f"{error}{unit_log(action.unit)}") from error
    require_running(action.unit, once=state.once)
    return f"{verb} {action.unit}"


def require_running(unit: str, *, once: bool = False) -> None:
    """Refuse a unit that is not up.

    :raises ConfigTreeError: with the unit's last log lines.
    """
    state = unit_states([unit])[unit]
    if not state.running and not (once and state.active != "failed"):
        raise ConfigTreeError(f"{unit} is {state.active} ({state.result}){unit_log(unit)}")


def unit_log(unit: str) -> str:
    """Return the last log lines of a unit for an error message, or nothing if there are none to be had."""
    try:
        said = run_command(["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=10", f"--unit={unit}"], limit=20)
    except ConfigTreeError:
        return ""
    return f"\nLast words of {unit}:\n{said}" if said else ""
