# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host remembers of one configuration tree: the applied revision, and the journal of a transaction that is open.

``<state>/<name>/applied.json`` is the tree as it was last applied and probed. ``journal.json`` exists exactly while live files may differ
from both the old and the new tree, or while the daemon may not have taken the new one; it is written before the first live file is touched.
``expired.json`` says that the host undid a change which nobody had confirmed, until a run has reported it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils import _config_tree_disk as disk
from ansible_collections.linda.ops.plugins.module_utils._config_tree_confirm import Window
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError, Foreign, Node, Owned, Step, full_path

_FORMAT = 1
_LOCK_WAIT = 120
_KEPT = ("applied.json", "expired.json", "lock")

SWAPPING, APPLYING, CONFIRMING, RESTORING = "swapping", "applying", "confirming", "restoring"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Applied:
    """The last applied tree. ``certain`` is false when a later transaction was undone without the daemon being asked to follow."""

    transaction: str = ""
    dest: str = ""
    revision: str = ""
    owned: Mapping[str, Owned] = dataclasses.field(default_factory=dict)
    watched: Mapping[str, str] = dataclasses.field(default_factory=dict)
    certain: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Journal:
    """An open transaction: everything that is needed to finish or undo it, also by a later process.

    The old content of step number ``n`` is the file ``n`` of the backup directory. ``applied`` is the record as it was before, ``units``
    are the states before (full name -> running, enabled), and ``actions`` are the steps of apply that were begun, as (verb, unit, argv).
    With a ``window`` the change has to be confirmed, and ``proposed`` is the record as it will be then.
    """

    transaction: str
    dest: str
    phase: str
    revision: str
    steps: tuple[Step, ...]
    applied: Applied
    units: Mapping[str, Mapping[str, bool]] = dataclasses.field(default_factory=dict)
    actions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    window: Window | None = None
    proposed: Applied | None = None


class Record:
    """The state directory of one tree; only root (or the user that runs the module) can look into it."""

    def __init__(self, state_directory: str, name: str) -> None:
        self.name = name
        self.state_directory = state_directory
        self.directory = os.path.join(state_directory, name)
        self.backups = os.path.join(self.directory, "backup")
        self._applied = os.path.join(self.directory, "applied.json")
        self._journal = os.path.join(self.directory, "journal.json")
        self._expired = os.path.join(self.directory, "expired.json")
        self._lock = os.path.join(self.directory, "lock")

    @contextlib.contextmanager
    def locked(self, wait: float = _LOCK_WAIT) -> Iterator[None]:
        """Hold the tree for one run; a run left over from a lost connection is waited for.

        :raises ConfigTreeError: if the other run does not end within ``wait`` seconds.
        """
        disk.private_directory(self.directory)
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            end = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= end:
                        raise ConfigTreeError(f"another run has held {self.directory} for {wait:g} seconds; let it end first") from error
                    time.sleep(0.1)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)

    def holder(self) -> int | None:
        """Return the process that has locked the tree last, and still has if locked() could not."""
        with contextlib.suppress(OSError, ValueError), open(self._lock, encoding="ascii") as stream:
            return int(stream.read())
        return None

    def applied(self) -> Applied:
        """Return the last applied tree; an empty, uncertain one if there is none."""
        data = _read(self._applied)
        return _parse_applied(data) if data else Applied()

    def foreign(self) -> dict[str, Foreign]:
        """Return the files and links that the host's other trees applied, by full path."""
        found: dict[str, Foreign] = {}
        names = sorted(os.listdir(self.state_directory)) if os.path.isdir(self.state_directory) else []
        for name in names:
            if name != self.name:
                other = Record(self.state_directory, name).applied()
                for path, entry in other.owned.items():
                    if entry.node.kind != "directory":
                        found[full_path(path, other.dest)] = Foreign(owner=name, node=entry.node)
        return found

    def journal(self) -> Journal | None:
        """Return the open transaction, if there is one that was not finished."""
        data = _read(self._journal)
        if not data:
            return None
        journal = Journal(
            transaction=data["transaction"],
            dest=data["dest"],
            phase=data["phase"],
            revision=data["revision"],
            steps=tuple(Step.parse(step) for step in data["steps"]),
            applied=_parse_applied(data["applied"]),
            units=data["units"],
            actions=tuple((verb, unit, tuple(argv)) for verb, unit, argv in data["actions"]),
            window=Window.parse(data.get("window")),
            proposed=_parse_applied(data["proposed"]) if data.get("proposed") else None,
        )
        return None if journal.transaction == self.applied().transaction else journal

    def write_journal(self, journal: Journal) -> None:
        """Write the open transaction, durably."""
        data = {
            "format": _FORMAT,
            **{field: getattr(journal, field) for field in ("transaction", "dest", "phase", "revision", "units", "actions")},
            "steps": [step.describe() for step in journal.steps],
            "applied": _describe_applied(journal.applied),
            "window": dataclasses.asdict(journal.window) if journal.window else None,
            "proposed": _describe_applied(journal.proposed) if journal.proposed else None,
        }
        disk.write_private(self._journal, json.dumps(data, sort_keys=True).encode())

    def write_applied(self, applied: Applied) -> None:
        """Write the applied tree, durably. From here on a journal of the same transaction counts as finished."""
        disk.write_private(self._applied, json.dumps({"format": _FORMAT, **_describe_applied(applied)}, sort_keys=True).encode())

    def expired(self) -> str:
        """Return what the host has to say of a change that it undid by itself, empty if there is nothing."""
        return str(_read(self._expired).get("message", ""))

    def write_expired(self, message: str) -> None:
        """Leave word for the next run."""
        disk.write_private(self._expired, json.dumps({"format": _FORMAT, "message": message}).encode())

    def forget_expired(self) -> None:
        """Take the word back once it has been reported."""
        disk.remove(self._expired)

    def close_journal(self) -> None:
        """Forget the open transaction, then its backups and whatever else a run that died has left."""
        if os.path.lexists(self._journal):
            disk.remove(self._journal)
            disk.sync_directory(self.directory)
        for name in os.listdir(self.directory):
            if name not in _KEPT:
                disk.remove(os.path.join(self.directory, name))


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            data = json.load(stream)
    except FileNotFoundError:
        return {}
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise ConfigTreeError(f"{path} was written by another version of this collection; move it away to begin anew")
    return data


def _describe_applied(applied: Applied) -> dict[str, Any]:
    return {
        "transaction": applied.transaction,
        "dest": applied.dest,
        "revision": applied.revision,
        "owned": {
            path: {"node": entry.node.describe(), "created": entry.created, "sensitive": entry.sensitive}
            for path, entry in applied.owned.items()
        },
        "watched": dict(applied.watched),
        "certain": applied.certain,
    }


def _parse_applied(data: Mapping[str, Any]) -> Applied:
    return Applied(
        transaction=data["transaction"],
        dest=data["dest"],
        revision=data["revision"],
        owned={
            path: Owned(node=Node.parse(entry["node"]), created=entry["created"], sensitive=entry["sensitive"])
            for path, entry in data["owned"].items()
        },
        watched=data["watched"],
        certain=data["certain"],
    )
