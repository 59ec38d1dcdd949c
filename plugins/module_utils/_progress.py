# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the progress display knows and says. Pure: takes events and a clock, gives lines; prints nothing.

A *stage* is one role (or the tasks of a play outside of roles) on the hosts of one play. With the linear strategy one stage runs
at a time; with a free one several do.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

TAIL = 20
"""Lines of stdout or stderr that are shown of a failed command."""
LIVE_LINES = 6
"""Stages that are shown at once on a terminal."""
QUIET_SECONDS = 2.0
"""A stage shorter than this that has nothing to say gets one line, not two, where there is no terminal; none outside of roles."""
_LABEL_WIDTH = 12


class Word(Enum):
    """The word at the beginning of a line; the callback gives each a colour."""

    BEGIN = "begin"
    DONE = "done"
    CHANGED = "changed"
    WOULD_CHANGE = "would change"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    IGNORED = "ignored"
    OUTPUT = "output"
    DIFF = "diff"
    NOTE = "note"
    NONE = ""


@dataclass(frozen=True)
class Line:
    """One permanent line: a coloured word and plain text. Text may have several lines, which are indented below the first."""

    word: Word
    text: str

    def plain(self) -> list[str]:
        """The line as text rows, the word in a column of its own."""
        first, *rest = self.text.split("\n")
        indent = " " * (_LABEL_WIDTH + 2)
        return [f"{self.word.value:<{_LABEL_WIDTH}}  {first}".rstrip(), *(f"{indent}{row}".rstrip() for row in rest)]


@dataclass(frozen=True)
class TaskInfo:
    """What the display needs of a task. `role` is None outside of roles."""

    uuid: str
    name: str
    role: str | None = None
    handler: bool = False
    rescuable: bool = False
    path: str | None = None

    @property
    def title(self) -> str:
        """The task's name with its role."""
        return f"{self.role}: {self.name}" if self.role else self.name


@dataclass
class Stage:
    """One role on the hosts of a play, while it runs."""

    label: str
    pattern: str
    role: str | None
    total: int
    started: float
    announced: bool = False
    task: str = ""
    note: str = ""
    done: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    changed: int = 0
    failed: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        """The stage and where it runs, for example `edge on edge1`."""
        return f"{self.label} on {self.pattern}"


class Progress:
    """Follows a run. Every event returns the lines that it makes necessary.

    clock: seconds from any fixed point, never going back.
    live:  whether running stages are shown on a terminal; then the line that a stage begins is left out.
    """

    def __init__(self, clock: Callable[[], float], live: bool = False) -> None:
        self._clock = clock
        self._live = live
        self._start = clock()
        self._stages: dict[tuple[str, bool], Stage] = {}
        self._play = ""
        self._pattern = ""
        self._hosts: list[str] = []
        self._order: dict[str, int] = {}
        self._lost: set[str] = set()
        self._free = False
        self._check = False
        self._changes: dict[str, tuple[TaskInfo, dict[str, list[str]]]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self._failed_tasks: dict[str, TaskInfo] = {}
        self._rescuable: dict[str, TaskInfo] = {}
        self.role_seconds: dict[str, float] = {}

    # --- events -----------------------------------------------------------------------------------------------------------

    def play_started(self, name: str, pattern: str, hosts: Sequence[str], free: bool = False, check: bool = False) -> list[Line]:
        """A play, or the next batch of one, begins on `hosts`."""
        lines = self.end_stages()
        self._play, self._pattern, self._free, self._check = name, pattern, free, check
        self._hosts = [host for host in hosts if host not in self._lost]
        self._order = {host: position for position, host in enumerate(hosts)}
        return lines

    def task_started(self, task: TaskInfo, once: bool = False) -> list[Line]:
        """A task begins; a new stage when it belongs to another role than the one before."""
        key = self._key(task)
        lines = [] if self._free else self._flush_changes()
        if not self._free and key not in self._stages:
            lines += self.end_stages()
        stage = self._stages.get(key)
        if stage is None:
            stage = self._stages[key] = self._new_stage(task)
        stage.task, stage.note = task.name, ""
        if not self._free:
            stage.done = set()
            stage.total = 1 if once else len(self._hosts)
        return lines

    def host_started(self, host: str, task: TaskInfo) -> None:
        """A host begins a task."""
        stage = self._stages.get(self._key(task))
        if stage is not None:
            stage.hosts.add(host)

    def host_done(self, host: str, task: TaskInfo) -> None:
        """A host has finished a task, whatever the outcome."""
        stage = self._stages.get(self._key(task))
        if stage is not None:
            stage.hosts.add(host)
            stage.done.add(host)
            stage.note = ""

    def retrying(self, host: str, task: TaskInfo, attempt: int, attempts: int) -> None:
        """A host tries a task again; shown while the stage runs."""
        stage = self._stages.get(self._key(task))
        if stage is not None:
            stage.note = f"try {attempt} of {attempts} on {host}"

    def changed(self, host: str, task: TaskInfo, reason: str) -> list[Line]:
        """A host was changed. Hosts with the same task and reason become one line when the task ends (at once with a free strategy)."""
        stage = self._stages.get(self._key(task))
        if stage is not None:
            stage.changed += 1
        self._changes.setdefault(task.uuid, (task, {}))[1].setdefault(reason, []).append(host)
        return self._flush_changes() if self._free else []

    def failed(
        self,
        host: str,
        task: TaskInfo,
        reason: Sequence[str],
        ignored: bool = False,
        unreachable: bool = False,
        item: str | None = None,
        label: str | None = None,
    ) -> list[Line]:
        """A task failed on a host, or the host could not be reached.

        reason:  rows of text, none when they were shown before; when another host failed with the same rows, it is named in their place.
        ignored: the play goes on for this host as if nothing had happened.
        item:    label of the loop's element that failed, when it is one; the failure of the task as a whole follows.
        label:   the host as it is shown, when that is more than its name.
        """
        rescued = task.rescuable and not unreachable
        stage = self._stages.get(self._key(task))
        if not ignored and item is None:
            (self._rescuable if rescued else self._failed_tasks)[host] = task
            if not rescued:
                self._lost.add(host)
                self._hosts = [other for other in self._hosts if other != host]
                if stage is not None:
                    stage.failed.add(host)
        if not reason:
            return []
        word = Word.IGNORED if ignored else Word.UNREACHABLE if unreachable else Word.FAILED
        marks = [mark for mark, holds in (("unreachable", ignored and unreachable), ("a rescue follows", rescued and not ignored)) if holds]
        body = "\n".join(reason)
        before = self._failures.setdefault((task.uuid, f"{item}\n{body}"), host)
        if before != host:
            marks.append(f"the same as on {before}")
        heading = (
            f"{label or host}: {task.title}" + (f" [{item}]" if item is not None else "") + (f" ({', '.join(marks)})" if marks else "")
        )
        return [*self._announce(stage), Line(word, heading if before != host else f"{heading}\n{body}")]

    def said(self, word: Word, host: str, task: TaskInfo, text: str) -> list[Line]:
        """Output that a task wants shown: a debug message, a diff."""
        stage = self._stages.get(self._key(task))
        return [*self._announce(stage), Line(word, f"{host}: {task.title}\n{text}")]

    def end_stages(self) -> list[Line]:
        """All running stages end; what is still to be said of them."""
        lines = self._flush_changes()
        for stage in self._stages.values():
            line = self._ended(stage)
            if stage.role or stage.announced or stage.changed or stage.failed or self._clock() - stage.started >= QUIET_SECONDS:
                lines.append(line)
        self._stages.clear()
        return lines

    # --- what is shown ----------------------------------------------------------------------------------------------------

    def live_lines(self, width: int) -> list[str]:
        """The running stages, one row each, cut to `width` columns."""
        now = self._clock()
        rows = []
        for stage in list(self._stages.values())[-LIVE_LINES:]:
            where = f"{len(stage.done)}/{max(stage.total, len(stage.hosts))} hosts"
            note = f" ({stage.note})" if stage.note else ""
            rows.append(fit(f"{clock_text(now - stage.started):>6}  {stage.title}  {where}  {stage.task}{note}", width))
        return rows

    def recap(self, summaries: Mapping[str, Mapping[str, int]], custom: Sequence[str] = ()) -> list[Line]:
        """The end of the run.

        summaries: by host the counts `ok`, `changed`, `failures`, `unreachable`, `rescued`, `ignored`.
        custom: rows of statistics that the playbooks set.
        """
        lines = self.end_stages()
        lines += [Line(Word.NONE, ""), *_host_table(summaries, self._check)]
        if custom:
            lines += [Line(Word.NONE, ""), Line(Word.NOTE, "statistics set by the playbook:\n" + "\n".join(custom))]
        slowest = sorted(self.role_seconds.items(), key=lambda item: -item[1])[:5]
        if slowest:
            width = max(len(role) for role, _seconds in slowest)
            rows = [f"{role:<{width}}  {seconds_text(seconds):>12}" for role, seconds in slowest]
            lines += [Line(Word.NONE, ""), Line(Word.NOTE, "slowest roles:\n" + "\n".join(rows))]
        lines += [Line(Word.NONE, ""), *self._verdict(summaries)]
        return lines

    def _verdict(self, summaries: Mapping[str, Mapping[str, int]]) -> list[Line]:
        total = seconds_text(self._clock() - self._start)
        bad = [host for host, counts in summaries.items() if counts.get("failures") or counts.get("unreachable")]
        changed = sum(counts.get("changed", 0) for counts in summaries.values())
        if not summaries:
            return [Line(Word.NOTE, f"nothing was run, {total}. No host matched.")]
        if not bad:
            what = f"{changed} {'change' if changed == 1 else 'changes'}" if changed else "no change"
            mood = " would be made (check mode)" if self._check else ""
            return [Line(Word.DONE, f"{_hosts(len(summaries))}, {what}{mood}, {total}")]
        rows = [f"{_hosts(len(bad))} of {len(summaries)} did not get through, {total}. What to do next:"]
        by_task: dict[str, list[str]] = {}
        for host in bad:
            # A failure that a rescue did not heal is the reason when no other is known.
            task = self._failed_tasks.get(host) or self._rescuable.get(host)
            word = "was unreachable" if summaries[host].get("unreachable") else "failed"
            where = f' at "{task.title}"' + (f" ({task.path})" if task.path else "") if task else ""
            by_task.setdefault(f"{word}{where}", []).append(host)
        rows += [f"- {', '.join(hosts)} {what}" for what, hosts in by_task.items()]
        rows.append(f"- correct the cause shown above, then run the same command with: --limit {','.join(bad)}")
        return [Line(Word.FAILED, "\n".join(rows))]

    # --- helpers ----------------------------------------------------------------------------------------------------------

    def _key(self, task: TaskInfo) -> tuple[str, bool]:
        return (task.role or "", task.handler)

    def _new_stage(self, task: TaskInfo) -> Stage:
        label = (task.role or self._play or "tasks") + (" (handlers)" if task.handler else "")
        pattern = self._pattern
        if not task.role and self._play == self._pattern:  # a play without a name is called by its hosts
            label = "tasks" + (" (handlers)" if task.handler else "")
        return Stage(label=label, pattern=pattern, role=task.role, total=len(self._hosts), started=self._clock())

    def _announce(self, stage: Stage | None) -> list[Line]:
        """The line that a stage begins, the first time that it is needed."""
        if stage is None or stage.announced or self._live:
            return []
        stage.announced = True
        return [Line(Word.BEGIN, f"{stage.title} ({_hosts(stage.total)}), {clock_text(stage.started - self._start)} into the run")]

    def overdue(self) -> list[Line]:
        """Lines for stages that have been running silently for a while; for displays without a live line."""
        now = self._clock()
        return [line for stage in self._stages.values() if now - stage.started >= QUIET_SECONDS for line in self._announce(stage)]

    def _ended(self, stage: Stage) -> Line:
        seconds = self._clock() - stage.started
        if stage.role:
            self.role_seconds[stage.role] = self.role_seconds.get(stage.role, 0.0) + seconds
        parts = [_hosts(max(len(stage.hosts), 1))]
        if stage.changed:
            parts.append(f"{stage.changed} {'would change' if self._check else 'changed'}")
        if stage.failed:
            parts.append(f"{len(stage.failed)} failed")
        parts.append(seconds_text(seconds))
        return Line(Word.FAILED if stage.failed else Word.DONE, f"{stage.title}: {', '.join(parts)}")

    def _flush_changes(self) -> list[Line]:
        lines: list[Line] = []
        for task, reasons in self._changes.values():
            lines += self._announce(self._stages.get(self._key(task)))
            for reason, hosts in reasons.items():
                hosts.sort(key=lambda host: self._order.get(host.partition(" ")[0], len(self._order)))
                because = f" ({reason})" if reason and "\n" not in reason else f"\n{reason}" if reason else ""
                word = Word.WOULD_CHANGE if self._check else Word.CHANGED
                lines.append(Line(word, f"{task.title}: {', '.join(hosts)}{because}"))
        self._changes.clear()
        return lines


# --- results as text ------------------------------------------------------------------------------------------------------


def is_hidden(result: Mapping[str, object]) -> bool:
    """Whether a result must not be shown (`no_log`)."""
    return bool(result.get("_ansible_no_log")) or "censored" in result


def failure_rows(result: Mapping[str, object], role: str | None = None) -> list[str]:
    """Why a task failed, as rows of text: the message, then the command with its exit code and the end of its output.

    role: its `<role>_secure_logging` is named when the reason is hidden.
    """
    if is_hidden(result):
        short = role.rpartition(".")[2] if role else None
        hint = f"; {short}_secure_logging: false shows it, secrets included" if short else ""
        return [f"(the reason is hidden by no_log{hint})"]
    message = _text(result.get("msg") or result.get("message") or "")
    message = re.sub(r"^(Task failed: )?(Action failed: )?", "", message).strip()
    if message == "non-zero return code":  # said better below
        message = ""
    rows = message.split("\n") if message else []
    if result.get("assertion"):
        rows.append(f"not true: {_text(result['assertion'])}")
    code = result.get("rc")
    if isinstance(code, int) and code:
        command = result.get("cmd")
        text = shlex.join(map(str, command)) if isinstance(command, list) else _text(command or "")
        rows.append(f"exit code {code}" + (f" of: {text}" if text else ""))
    for key, name in (("stderr", "stderr"), ("module_stderr", "stderr"), ("stdout", "stdout"), ("module_stdout", "stdout")):
        output = clean(_text(result.get(key) or "")).strip()
        if output and output not in message:
            rows += _tail(name, output)
    return [clean(row) for row in rows] or ["(no reason was given)"]


def change_reason(result: Mapping[str, object]) -> str:
    """What a task changed, in few words; empty when the result does not say it or must not be shown."""
    if is_hidden(result):
        return ""
    for key in ("steps_done", "plan", "changes"):
        steps = result.get(key)
        if isinstance(steps, list) and steps and all(isinstance(step, str) for step in steps):
            more = [f"and {len(steps) - 5} more"] if len(steps) > 5 else []
            return "\n".join(clean(step) for step in [*steps[:5], *more])
    message = result.get("msg")
    if isinstance(message, str) and message.strip() and message not in {"All items completed", "OK"}:
        return clean(" ".join(message.split()))[:160]
    for key in ("dest", "path"):
        if isinstance(result.get(key), str):
            return clean(str(result[key]))
    return ""


def clean(text: str) -> str:
    """Text of a host without control characters, so that it cannot steer the terminal; line ends and tabs stay."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)", "", text).replace("\r\n", "\n")
    return "".join(character for character in text if character in "\n\t" or unicodedata.category(character) != "Cc")


def _text(value: object) -> str:
    """A message of any type as readable text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return "\n".join(_text(item) for item in value)
    return str(value)


def _tail(name: str, output: str) -> list[str]:
    rows = output.split("\n")
    left_out = len(rows) - TAIL
    return [f"{name}:" if left_out <= 0 else f"{name} (the last {TAIL} of {len(rows)} lines):", *(f"  {row}" for row in rows[-TAIL:])]


# --- numbers and tables as text -------------------------------------------------------------------------------------------


def clock_text(seconds: float) -> str:
    """Elapsed time as `m:ss`, or `h:mm:ss` from an hour on."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def seconds_text(seconds: float) -> str:
    """A duration in words: `0.4 s`, `12 s`, `2 min 5 s`, `1 h 4 min`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def fit(text: str, width: int) -> str:
    """One row of at most `width` columns."""
    text = clean(text).replace("\n", " ").replace("\t", " ")
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 3:
        text = text[:-1]
    return f"{text.rstrip()}..."[: max(0, width)]


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _host_table(summaries: Mapping[str, Mapping[str, int]], check: bool) -> list[Line]:
    """One row a host; counts that are zero everywhere have no column."""
    if not summaries:
        return []
    columns = [("changed", "would change" if check else "changed")]
    for key in ("failures", "unreachable", "rescued", "ignored"):
        if any(counts.get(key) for counts in summaries.values()):
            columns.append((key, "failed" if key == "failures" else key))
    width = max(len("host"), *(len(host) for host in summaries))
    heading = f"{'host':<{width}}  {'ok':>5}  " + "  ".join(f"{name:>{max(len(name), 7)}}" for _key, name in columns)
    lines = [Line(Word.NONE, heading)]
    for host, counts in summaries.items():
        cells = "  ".join(f"{counts.get(key, 0):>{max(len(name), 7)}}" for key, name in columns)
        word = Word.UNREACHABLE if counts.get("unreachable") else Word.FAILED if counts.get("failures") else Word.NONE
        if word is Word.NONE:
            word = (Word.WOULD_CHANGE if check else Word.CHANGED) if counts.get("changed") else Word.DONE
        lines.append(Line(word, f"{host:<{width}}  {counts.get('ok', 0):>5}  {cells}".rstrip()))
    return lines
