# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finding an order of renames in which the daemon's checker accepts the live tree after each of them.

A swap of several files is not atomic: a run that is killed halfway, or a daemon that restarts by itself at that moment, meets a mixture. So
the swap is rehearsed on a picture of the live directory, made of links: unchanged things point to the live ones, files that the swap has
already passed to the staged ones. The checker judges the picture after each step, and where it objects, another step is tried first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ansible_collections.linda.ops.plugins.module_utils import _config_tree_disk as disk
from ansible_collections.linda.ops.plugins.module_utils import _config_tree_stage as staging
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError, Step, parents, safe_order

CHECKED = "checked"
DEFAULT = "default"
UNSAFE = "unsafe"

_TIME_LIMIT = 20.0
_CHECK_LIMIT = 100


def rehearsed_order(steps: Sequence[Step], checks: Sequence[Sequence[str]], root: str, stage: str) -> tuple[list[Step], str]:
    """Return the steps in the safest order that was found, and how safe it is.

    ``checked``: the checker accepted every state on the way. ``default``: it was not asked, because there is one step only, no checker, no
    valid tree to begin with, or too little time. ``unsafe``: at some point it rejects whatever comes next.
    """
    usable = [argv for argv in checks if any("{staged}" in word for word in argv)]
    if len([step for step in steps if _counts(step)]) < 2 or not usable or not os.path.isdir(root):
        return list(steps), DEFAULT
    rehearsal = _Rehearsal(steps, usable, root, stage)
    if not rehearsal.accepted():
        return list(steps), DEFAULT
    order = safe_order(steps, rehearsal.accepts)
    return order, rehearsal.verdict


def _counts(step: Step) -> bool:
    """Tell whether a step can make a difference to a checker: what is only a directory cannot."""
    return step.op in ("put", "remove") and not step.path.startswith("/")


class _Rehearsal:
    """The picture of the live directory, and how far the swap has come in it."""

    def __init__(self, steps: Sequence[Step], checks: Sequence[Sequence[str]], root: str, stage: str) -> None:
        self.verdict = CHECKED
        self._checks = checks
        self._root = root
        self._stage = stage
        self._tree = os.path.join(stage, "rehearsal")
        self._done: list[Step] = []
        self._left = _CHECK_LIMIT
        self._end = time.monotonic() + _TIME_LIMIT
        self._last = len([step for step in steps if _counts(step)])
        self._picture(".", {above for step in steps for above in parents(step.path)})

    def accepts(self, done: Sequence[Step]) -> bool:
        """Tell whether the checker agrees to the state after these steps."""
        for step in done[len(self._done) : -1]:
            self._pass(step)
            self.verdict = UNSAFE  # it was taken although it had been rejected
        self._pass(done[-1])
        if not _counts(done[-1]) or len([step for step in done if _counts(step)]) == self._last:
            return True
        if self.accepted():
            return True
        self._take_back()
        return False

    def accepted(self) -> bool:
        """Ask the checker about the picture as it is."""
        self._left -= 1
        if self._left < 0 or time.monotonic() > self._end:
            self.verdict = DEFAULT if self.verdict == CHECKED else self.verdict
            return True
        try:
            staging.validate(self._checks, self._tree, self._root)
        except ConfigTreeError:
            return False
        return True

    def _picture(self, directory: str, opened: set[str]) -> None:
        """Show a live directory: those on the way to a change as directories, everything else as links."""
        os.mkdir(self._at(directory), 0o755)
        for entry in os.scandir(os.path.join(self._root, directory)):
            path = os.path.normpath(os.path.join(directory, entry.name))
            if path in opened and entry.is_dir(follow_symlinks=False):
                self._picture(path, opened)
            else:
                self._show_live(path)

    def _show_live(self, path: str) -> None:
        live = os.path.join(self._root, path)
        target = os.readlink(live) if os.path.islink(live) else live
        inside = os.path.normpath(os.path.join(os.path.dirname(path), target))
        os.symlink(live if inside.startswith("..") else target, self._at(path))

    def _pass(self, step: Step) -> None:
        self._done.append(step)
        if step.path.startswith("/"):
            return
        if step.op == "mkdir":
            os.makedirs(self._at(step.path), exist_ok=True)
        elif step.op == "rmdir":
            disk.remove(self._at(step.path))
        elif step.op in ("put", "remove"):
            disk.remove(self._at(step.path))
            if step.after is not None:
                os.symlink(step.after.target or staging.staged_path(self._stage, step.path), self._at(step.path))

    def _take_back(self) -> None:
        step = self._done.pop()
        disk.remove(self._at(step.path))
        if step.before is not None:
            self._show_live(step.path)

    def _at(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._tree, path))
