# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stdout callback of linda.ops: what runs where and for how long, what changed, what failed and why."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: Shows stages instead of tasks, and the reason of every change and failure
version_added: 0.1.0
description:
  - On a terminal, shows one live line for every running role and group of hosts, with the elapsed time, the hosts that are done,
    and the task.
  - Elsewhere (a pipe, a file, CI), writes a plain line when a role begins and when it ends.
  - Changed and failed tasks are always shown, with their reason in readable text; unreachable hosts, ignored failures and failures that a
    rescue follows are marked. Hosts with the same outcome share a line.
  - At the end, shows a recap by host, the slowest roles, the total time, and after a failure what to do next.
  - With C(-v) and more, shows what Ansible's own default callback shows, followed by the slowest roles and what to do next.
  - Colours follow E(NO_COLOR) and the terminal. Results of tasks with C(no_log) are never shown.
  - Should the display itself fail, it says so once and leaves the rest of the run to Ansible's default callback.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
author:
  - The linda.ops authors (@linda)
options:
  live:
    description:
      - Whether the running roles are shown as live lines.
      - V(auto) does so on a terminal that can move its cursor.
    type: str
    choices: [auto, always, never]
    default: auto
    env:
      - name: LINDA_PROGRESS_LIVE
    ini:
      - section: linda_progress
        key: live
"""

EXAMPLES = r"""
ansible.cfg: |
  [defaults]
  stdout_callback = linda.ops.progress
"""

import atexit  # noqa: E402 - the documentation comes first in a plugin
import os  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from ansible import constants as C  # noqa: E402
from ansible.playbook.block import Block  # noqa: E402
from ansible.playbook.task_include import TaskInclude  # noqa: E402
from ansible.plugins.callback.default import CallbackModule as DefaultCallback  # noqa: E402
from ansible.utils import color  # noqa: E402
from ansible.utils.fqcn import add_internal_fqcns  # noqa: E402
from ansible_collections.linda.ops.plugins.module_utils._progress import (  # noqa: E402
    Line,
    Progress,
    TaskInfo,
    Word,
    change_reason,
    clean,
    failure_rows,
    is_hidden,
)

_COLOURS = {
    Word.BEGIN: C.COLOR_VERBOSE,
    Word.DONE: C.COLOR_OK,
    Word.CHANGED: C.COLOR_CHANGED,
    Word.WOULD_CHANGE: C.COLOR_CHANGED,
    Word.FAILED: C.COLOR_ERROR,
    Word.UNREACHABLE: C.COLOR_UNREACHABLE,
    Word.IGNORED: C.COLOR_WARN,
    Word.OUTPUT: C.COLOR_HIGHLIGHT,
    Word.DIFF: C.COLOR_DIFF_LINES,
    Word.NOTE: C.COLOR_HIGHLIGHT,
}
_TICK_SECONDS = 0.5
_FREE = add_internal_fqcns(("free", "host_pinned"))
_PROMPTS = add_internal_fqcns(("pause",))


class _Terminal:
    """Rows at the bottom of the terminal that are drawn again and again; everything else is printed above them.

    All methods are called with the display's lock held. Ansible holds that lock while it forks, so a worker never inherits
    a half-drawn state, and what a worker displays comes here through Ansible's own queue.
    """

    def __init__(self) -> None:
        self._rows = 0

    def erase(self) -> None:
        """Take the live rows away; the cursor ends where the first one began."""
        if self._rows:
            self._write("\r\x1b[2K" + "\x1b[1A\x1b[2K" * (self._rows - 1))
            self._rows = 0

    def draw(self, rows: list[str]) -> None:
        """Show these rows instead of the ones before."""
        self.erase()
        if rows:
            self._write("\n".join(rows))
            self._rows = len(rows)

    @staticmethod
    def width() -> int:
        """Columns that a row may take; one less than there are, so that no terminal wraps it."""
        return max(20, shutil.get_terminal_size().columns - 1)

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class CallbackModule(DefaultCallback):  # type: ignore[misc]  # Ansible ships no type information
    """Feeds Ansible's events to `Progress` and prints the lines it answers with."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "linda.ops.progress"

    def __init__(self) -> None:
        super().__init__()
        self._broken = False
        self._live = False
        self._terminal: _Terminal | None = None
        self._progress = Progress(time.monotonic)
        self._tasks: dict[str, TaskInfo] = {}
        self._free = False
        self._paused = False
        self._stop = threading.Event()
        self._pid = os.getpid()

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Read the options; decides whether there is a live display."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        if os.environ.get("NO_COLOR") and not C.ANSIBLE_FORCE_COLOR:
            color.ANSIBLE_COLOR = False  # it counts whatever it says (no-color.org); Ansible by itself wants it to be a true value
        wanted = self.get_option("live")
        can = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb"}
        self._live = self._display.verbosity == 0 and (wanted == "always" or (wanted == "auto" and can))

    # --- events of the run ------------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """A playbook begins."""
        self._event(self._run_started, super().v2_playbook_on_start, playbook)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play, or the next batch of it, begins."""
        self._play = play  # the default callback, which may take over at any time, needs it
        self._event(self._play_started, super().v2_playbook_on_play_start, play)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task begins."""
        self._event(self._task_started, super().v2_playbook_on_task_start, task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler begins."""
        self._event(self._handler_started, super().v2_playbook_on_handler_task_start, task)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A host begins a task."""
        self._event(self._host_started, super().v2_runner_on_start, host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task went well."""
        self._event(self._ok, super().v2_runner_on_ok, result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._event(self._failed, super().v2_runner_on_failed, result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._event(self._unreachable, super().v2_runner_on_unreachable, result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was skipped."""
        self._event(self._skipped, super().v2_runner_on_skipped, result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """An element of a loop went well."""
        self._event(self._item_ok, super().v2_runner_item_on_ok, result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """An element of a loop failed."""
        self._event(self._item_failed, super().v2_runner_item_on_failed, result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """An element of a loop was skipped."""
        self._event(self._nothing, super().v2_runner_item_on_skipped, result)

    def v2_runner_retry(self, result: Any) -> None:
        """A task is tried again."""
        self._event(self._retry, super().v2_runner_retry, result)

    def v2_runner_on_async_poll(self, result: Any) -> None:
        """An asynchronous task was looked at."""
        self._event(self._nothing, super().v2_runner_on_async_poll, result)

    def v2_runner_on_async_ok(self, result: Any) -> None:
        """An asynchronous task went well; its result follows as the task's own."""
        self._event(self._nothing, super().v2_runner_on_async_ok, result)

    def v2_runner_on_async_failed(self, result: Any) -> None:
        """An asynchronous task failed; its result follows as the task's own."""
        self._event(self._nothing, super().v2_runner_on_async_failed, result)

    def v2_on_file_diff(self, result: Any) -> None:
        """A task has a diff to show."""
        self._event(self._diff, super().v2_on_file_diff, result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Tasks were included."""
        self._event(self._nothing, super().v2_playbook_on_include, included_file)

    def v2_playbook_on_notify(self, handler: Any, host: Any) -> None:
        """A handler was notified."""
        self._event(self._nothing, super().v2_playbook_on_notify, handler, host)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """No host matches a play."""
        self._event(self._no_hosts_matched, super().v2_playbook_on_no_hosts_matched)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """Every host of a play has failed."""
        self._event(self._no_hosts_remaining, super().v2_playbook_on_no_hosts_remaining)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The run is over."""
        self._event(self._finished, self._usual_end, stats)
        self._close()

    # --- dispatch ---------------------------------------------------------------------------------------------------------

    def _event(self, own: Callable[..., list[Line]], usual: Callable[..., None], *arguments: Any) -> None:
        """Show an event our way, or the usual way with `-v`. A bug in our way must not hide the event, nor the ones after it."""
        if self._broken:
            usual(*arguments)
            return
        usual_shows = self._display.verbosity > 0
        try:
            with self._display._lock:
                lines = own(*arguments)
                if not usual_shows:
                    self._show(lines)
        except Exception as error:
            self._broken = True
            self._close()
            self._display.warning(f"the progress display failed ({type(error).__name__}: {error}); Ansible's own display goes on from here")
            usual_shows = True
        if usual_shows:
            usual(*arguments)

    def _show(self, lines: list[Line]) -> None:
        """Print permanent lines above the live ones."""
        if lines and self._terminal is not None:
            self._terminal.erase()
        for line in lines:
            first, *rest = line.plain() or [""]
            word = line.word.value
            if word and line.word in _COLOURS:
                first = color.stringc(word, _COLOURS[line.word]) + first[len(word) :]
            self._display.display("\n".join([first, *rest]))
        self._draw()

    # --- the live display -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Begin with a playbook (one command may run several): a clock, and live rows that other output of Ansible keeps apart from."""
        self._close()
        self._pid = os.getpid()
        self._stop = threading.Event()
        self._progress = Progress(time.monotonic, live=self._live)
        if self._live:
            self._terminal = _Terminal()
            self._display.display = self._display_above
            atexit.register(self._close)
        threading.Thread(target=self._tick, args=(self._stop,), name="linda.ops.progress", daemon=True).start()

    def _display_above(self, *arguments: Any, **options: Any) -> Any:
        """Ansible's warnings and prompts: what is printed while live rows are shown. In a forked worker it goes through Ansible's queue."""
        usual = type(self._display).display
        if self._terminal is None or os.getpid() != self._pid:
            return usual(self._display, *arguments, **options)
        with self._display._lock:
            self._terminal.erase()
            return usual(self._display, *arguments, **options)

    def _tick(self, stop: threading.Event) -> None:
        """Draw the elapsed time; without a terminal, say that a stage has begun once it takes a while."""
        while not stop.wait(_TICK_SECONDS):
            try:
                with self._display._lock:
                    if stop.is_set() or self._display.verbosity > 0:
                        return
                    if self._terminal is not None:
                        self._draw()
                    else:
                        self._show(self._progress.overdue())
                        sys.stdout.flush()
            except Exception as error:
                self._broken = True
                self._close()
                self._display.warning(
                    f"the progress display failed ({type(error).__name__}: {error}); Ansible's own display goes on from here"
                )

    def _draw(self) -> None:
        if self._terminal is not None and not self._paused and not self._stop.is_set():
            self._terminal.draw(self._progress.live_lines(self._terminal.width()))

    def _close(self) -> None:
        """Leave the terminal clean. Safe to call again, and in a forked worker, where it does nothing."""
        if os.getpid() != self._pid:
            return
        self._stop.set()
        with self._display._lock:
            if self._terminal is not None:
                self._terminal.erase()
                self._terminal = None
                self._display.__dict__.pop("display", None)

    # --- our way ----------------------------------------------------------------------------------------------------------

    def _nothing(self, *_arguments: Any) -> list[Line]:
        return []

    def _run_started(self, _playbook: Any) -> list[Line]:
        self._open()
        return []

    def _play_started(self, play: Any) -> list[Line]:
        inventory = getattr(play.get_variable_manager(), "_inventory", None)
        hosts = [host.name for host in inventory.get_hosts(play.hosts, order=play.order)] if inventory is not None else []
        self._free = play.strategy in _FREE
        self._tasks.clear()
        return self._progress.play_started(play.get_name().strip(), _pattern(play), hosts, self._free, bool(play.check_mode))

    def _task_started(self, task: Any, _is_conditional: bool = False) -> list[Line]:
        return self._begin(task, handler=False)

    def _handler_started(self, task: Any) -> list[Line]:
        return self._begin(task, handler=True)

    def _begin(self, task: Any, handler: bool) -> list[Line]:
        # A prompt owns the terminal until the next task.
        self._paused = task.action in _PROMPTS
        info = self._tasks[task._uuid] = _task_info(task, handler)
        return self._progress.task_started(info, once=task.run_once is True)

    def _info(self, task: Any) -> TaskInfo:
        """What was learnt when the task began; a task without a beginning (an included one that could not be loaded) is looked at now."""
        return self._tasks.get(task._uuid) or _task_info(task, False)

    def _host_started(self, host: Any, task: Any) -> list[Line]:
        self._progress.host_started(host.get_name(), self._info(task))
        self._draw()
        return []

    def _ok(self, result: Any) -> list[Line]:
        info = self._info(result.task)
        host = result.host.get_name()
        if isinstance(result.task, TaskInclude):
            self._progress.host_done(host, info)
            return []
        self._handle_warnings(result.result)
        lines: list[Line] = []
        if result.task.action in C._ACTION_DEBUG and "results" not in result.result:
            lines += self._debug_output(host, info, result)
        if result.is_changed():
            lines += self._progress.changed(self._host_label(result), info, change_reason(result.result))
        self._progress.host_done(host, info)
        return lines

    def _failed(self, result: Any, ignore_errors: bool) -> list[Line]:
        info = self._info(result.task)
        self._handle_warnings(result.result)
        items = isinstance(result.result.get("results"), list) and bool(result.task.loop)
        rows = [] if items else failure_rows(result.result, info.role)  # the elements of a loop have said it
        host = result.host.get_name()
        lines = self._progress.failed(host, info, rows, ignored=ignore_errors, label=self._host_label(result))
        self._progress.host_done(result.host.get_name(), info)
        return lines

    def _unreachable(self, result: Any) -> list[Line]:
        info = self._info(result.task)
        self._handle_warnings(result.result)
        ignored = bool(result.task.ignore_unreachable)
        rows = failure_rows(result.result, info.role)
        host = result.host.get_name()
        lines = self._progress.failed(host, info, rows, ignored=ignored, unreachable=True, label=self._host_label(result))
        self._progress.host_done(result.host.get_name(), info)
        return lines

    def _skipped(self, result: Any) -> list[Line]:
        self._handle_warnings(result.result)
        self._progress.host_done(result.host.get_name(), self._info(result.task))
        return []

    def _item_ok(self, result: Any) -> list[Line]:
        self._handle_warnings(result.result)
        if result.task.action in C._ACTION_DEBUG:
            return self._debug_output(result.host.get_name(), self._info(result.task), result)
        return []

    def _item_failed(self, result: Any) -> list[Line]:
        info = self._info(result.task)
        self._handle_warnings(result.result)
        item = clean(str(self._get_item_label(result.result)))
        ignored = result.task.ignore_errors is True
        rows = failure_rows(result.result, info.role)
        host = result.host.get_name()
        return self._progress.failed(host, info, rows, ignored=ignored, item=item, label=self._host_label(result))

    def _retry(self, result: Any) -> list[Line]:
        attempts = int(result.result.get("retries", 0))
        self._progress.retrying(result.host.get_name(), self._info(result.task), int(result.result.get("attempts", 0)) + 1, attempts)
        self._draw()
        return []

    def _diff(self, result: Any) -> list[Line]:
        data = result.result
        if is_hidden(data):
            return []
        parts = data["results"] if isinstance(data.get("results"), list) and result.task.loop else [data]
        lines: list[Line] = []
        for part in parts:
            if isinstance(part, dict) and part.get("diff") and part.get("changed") and not is_hidden(part):
                text = self._get_diff(part["diff"]).strip("\n")
                if text:
                    lines += self._progress.said(Word.DIFF, self._host_label(result), self._info(result.task), text)
        return lines

    def _debug_output(self, host: str, info: TaskInfo, result: Any) -> list[Line]:
        if is_hidden(result.result) or result.result.get("_ansible_verbose_override"):
            return []
        self._clean_results(result.result, result.task.action)
        shown = {key: value for key, value in result.result.items() if not key.startswith("_") and key not in {"item", "ansible_loop_var"}}
        text = str(shown["msg"]) if set(shown) == {"msg"} and isinstance(shown["msg"], str) else "\n".join(failure_rows({"msg": shown}))
        return self._progress.said(Word.OUTPUT, host, info, clean(text)) if text else []

    def _no_hosts_matched(self) -> list[Line]:
        return [Line(Word.NOTE, f"no host matches {_pattern(self._play)}")]

    def _no_hosts_remaining(self) -> list[Line]:
        return [Line(Word.NOTE, "no host is left for the rest of this play")]

    def _finished(self, stats: Any) -> list[Line]:
        return self._progress.recap(self._summaries(stats), self._custom(stats))

    def _usual_end(self, stats: Any) -> None:
        """Ansible's own recap with `-v`, and below it what it does not say."""
        super().v2_playbook_on_stats(stats)
        if not self._broken:
            for line in self._progress.recap(self._summaries(stats), self._custom(stats)):
                if line.word in {Word.NOTE, Word.FAILED} and "\n" in line.text:
                    self._display.display("\n".join(line.plain()))

    @staticmethod
    def _summaries(stats: Any) -> dict[str, dict[str, int]]:
        return {host: dict(stats.summarize(host)) for host in sorted(stats.processed)}

    @staticmethod
    def _custom(stats: Any) -> list[str]:
        """What set_stats collected, for the run as a whole and by host."""
        rows = [f"{key}: {value}" for key, value in sorted((stats.custom or {}).get("_run", {}).items())]
        for host, values in sorted((stats.custom or {}).items()):
            if host != "_run":
                rows += [f"{host}: {key}: {value}" for key, value in sorted(values.items())]
        return [clean(row) for row in rows]

    def _host_label(self, result: Any) -> str:
        """The host, and the host a task was delegated to."""
        label = str(result.host.get_name())
        delegated = result.task.delegate_to
        return f"{label} (on {delegated})" if delegated and delegated != label else label


def _pattern(play: Any) -> str:
    """The hosts of a play as its author wrote them."""
    return play.hosts if isinstance(play.hosts, str) else ",".join(str(host) for host in play.hosts or [])


def _task_info(task: Any, handler: bool) -> TaskInfo:
    """What the display needs of an Ansible task."""
    role = task._role.get_name() if task._role else None
    name = task.name or task.action
    path = task.get_path()
    if path:
        relative = os.path.relpath(os.path.realpath(path))  # a checkout is often linked into a collection path
        path = path if relative.startswith("..") else relative
    return TaskInfo(
        uuid=task._uuid,
        name=clean(str(name)).strip(),
        role=role.rpartition(".")[2] if role and role.startswith("linda.ops.") else role,
        handler=handler,
        rescuable=_rescuable(task),
        path=path,
    )


def _rescuable(task: Any) -> bool:
    """Whether a block around the task has a rescue for it, that is, the task is not itself part of the rescue or of an always."""
    child, parent = task, task._parent
    while parent is not None:
        if isinstance(parent, Block) and parent.rescue:
            tail = {other._uuid for other in [*parent.rescue, *parent.always]}
            if child._uuid not in tail:
                return True
        child, parent = parent, getattr(parent, "_parent", None)
    return False
