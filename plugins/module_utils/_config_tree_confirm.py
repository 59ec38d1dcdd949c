# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commit-confirm: a host that puts the old configuration back by itself unless somebody still reaches it after the change.

The undoing is armed before the first live file is touched, and needs nothing from the run that armed it: a copy of the engine beside the
journal, a timer for the end of the window, and a unit that undoes at the next start, before the network, what nobody had confirmed.
The protocol is described in docs/decisions/0018-commit-confirm.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils import _config_tree_disk as disk
from ansible_collections.linda.ops.plugins.module_utils._config_tree_apply import have_systemd, run_command
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError

UNITS = "/etc/systemd/system"
VOLATILE = "/run/linda-ops/config_tree"
"""Empty after a start of the host, so what is missing here was armed before it."""
WANTED_BY = "sysinit.target"

_PACKAGE = "ansible_collections.linda.ops.plugins.module_utils"
_SERVICE = """\
[Unit]
Description=Put back the configuration {name}, which nobody confirmed
DefaultDependencies=no
RequiresMountsFor={directory} {dest}
After=local-fs.target systemd-remount-fs.service
Before=sysinit.target network-pre.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists={directory}/journal.json

[Service]
Type=oneshot
ExecStart={python} -I {directory}/undo/undo.py
"""
_TIMER = """\
[Unit]
Description=The end of the time in which the configuration {name} has to be confirmed
DefaultDependencies=no

[Timer]
OnActiveSec={seconds}
AccuracySec=100ms
RemainAfterElapse=no
"""
_SCRIPT = """\
import sys

sys.path.insert(0, {undo!r})
from {package}._config_tree_engine import expire

sys.exit(expire({state_directory!r}, {name!r}))
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """The time in which a change has to be confirmed: ``seconds`` long, over at ``until`` by the host's clock of its uptime.

    ``owner`` is the process that opened it.
    """

    seconds: int
    until: float
    owner: int

    @classmethod
    def of(cls, seconds: int) -> Window:
        """Return a window that begins now."""
        return cls(seconds=seconds, until=uptime() + seconds, owner=os.getpid())

    @classmethod
    def parse(cls, data: Mapping[str, Any] | None) -> Window | None:
        """Return the window that a journal has, if it has one."""
        return cls(seconds=int(data["seconds"]), until=float(data["until"]), owner=int(data["owner"])) if data else None

    @property
    def remaining(self) -> float:
        """Return how many seconds are left, never less than 0."""
        return max(0.0, self.until - uptime())


def uptime() -> float:
    """Return the seconds since the start of the kernel, time asleep included; no clock setting moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unit_of(name: str, kind: str) -> str:
    """Return the name of a tree's unit, ``kind`` being ``service`` or ``timer``."""
    return f"linda-ops-undo-{name}.{kind}"


def refuse_without_systemd() -> None:
    """Refuse a window on a host where nothing would watch its end.

    :raises ConfigTreeError: if this host is not run by systemd.
    """
    if not have_systemd():
        raise ConfigTreeError("confirm: systemd does not run this host, so nothing could put the old configuration back; leave confirm out")


def arm(*, directory: str, state_directory: str, name: str, dest: str, seconds: int) -> None:
    """Have the host undo the open transaction of a tree after ``seconds``, and at its next start.

    ``directory`` is the tree's record. What was armed before is replaced.

    :raises ConfigTreeError: if systemd refuses.
    """
    undo = os.path.join(directory, "undo")
    _carry_engine(undo)
    script = _SCRIPT.format(undo=undo, package=_PACKAGE, state_directory=state_directory, name=name)
    disk.write_private(os.path.join(undo, "undo.py"), script.encode())
    service, timer = unit_of(name, "service"), unit_of(name, "timer")
    wanted = os.path.join(UNITS, f"{WANTED_BY}.wants", service)
    _write(os.path.join(UNITS, service), _SERVICE.format(name=name, directory=directory, dest=dest, python=sys.executable))
    os.makedirs(os.path.dirname(wanted), exist_ok=True)
    disk.remove(wanted)
    os.symlink(f"../{service}", wanted)
    disk.sync_directory(os.path.dirname(wanted))
    disk.private_directory(VOLATILE)
    disk.write_private(os.path.join(VOLATILE, name), b"")
    _write(os.path.join("/run/systemd/system", timer), _TIMER.format(name=name, seconds=seconds))
    run_command(["systemctl", "daemon-reload"])
    run_command(["systemctl", "restart", "--", timer])


def disarm(name: str) -> None:
    """Take back everything that arm() made outside the record. Idempotent, and quick where nothing was armed."""
    service, timer = unit_of(name, "service"), unit_of(name, "timer")
    files = [
        os.path.join("/run/systemd/system", timer),
        os.path.join(UNITS, f"{WANTED_BY}.wants", service),
        os.path.join(UNITS, service),
        os.path.join(VOLATILE, name),
    ]
    if not any(os.path.lexists(path) for path in files):
        return
    with contextlib.suppress(ConfigTreeError):  # a timer that is gone already
        run_command(["systemctl", "stop", "--", timer])
    for path in files:
        disk.remove(path)
    with contextlib.suppress(ConfigTreeError):
        run_command(["systemctl", "daemon-reload"])


def is_armed_since_start(name: str) -> bool:
    """Tell whether the tree was armed after the last start of this host."""
    return os.path.exists(os.path.join(VOLATILE, name))


def end(process: int) -> None:
    """Kill a run that is not done by the end of its window, with the commands that it waits for."""
    children: list[int] = []
    with contextlib.suppress(OSError), open(f"/proc/{process}/task/{process}/children", encoding="ascii") as stream:
        children = [int(number) for number in stream.read().split()]
    for one in (process, *children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _carry_engine(undo: str) -> None:
    """Copy the engine as it runs here, which may be out of an archive that is gone in a moment."""
    disk.remove(undo)
    disk.private_directory(undo)
    package = undo
    for part in _PACKAGE.split("."):
        package = os.path.join(package, part)
        disk.private_directory(package)
        # A host may have the package `ansible`, whose ansible_collections would come before one without this file.
        disk.write_private(os.path.join(package, "__init__.py"), b"")
    prefix = f"{_PACKAGE}._config_tree_"
    for name, module in sorted(sys.modules.items()):
        if name.startswith(prefix) and module.__spec__ is not None:
            loader: Any = module.__spec__.loader  # of files or of an archive; each has get_source, and they share no type
            source = loader.get_source(name)
            disk.write_private(os.path.join(package, f"{name.rpartition('.')[2]}.py"), source.encode())


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    disk.write_private(path, text.encode())
    os.chmod(path, 0o644)
