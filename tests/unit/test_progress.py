"""What the progress display says, event by event, on a clock of its own; and that no sequence of events breaks it."""

from collections.abc import Sequence

import pytest
from ansible_collections.linda.ops.plugins.module_utils._progress import (
    TAIL,
    Line,
    Progress,
    TaskInfo,
    Word,
    change_reason,
    clean,
    clock_text,
    failure_rows,
    fit,
    seconds_text,
    width_of,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


INSTALL = TaskInfo("1", "install | Install nginx", "edge", path="roles/edge/tasks/install.yml:2")
CONFIGURE = TaskInfo("2", "configure | Write", "edge")
OTHER = TaskInfo("3", "install | Install mongod", "mongodb")
RELOAD = TaskInfo("4", "Reload", "edge", handler=True)
RISKY = TaskInfo("5", "try | Try", "edge", rescuable=True)
LONE = TaskInfo("6", "Say something")


def rows(lines: Sequence[Line]) -> list[str]:
    return [row for line in lines for row in line.plain()]


def started(live: bool = False, **options: bool) -> tuple[Progress, Clock]:
    clock = Clock()
    progress = Progress(clock, live=live)
    assert progress.play_started("Edge", "edge", ["edge1", "edge2"], **options) == []
    return progress, clock


def test_a_quiet_stage_is_one_line_at_its_end() -> None:
    progress, clock = started()
    assert progress.task_started(INSTALL) == []
    for host in ("edge1", "edge2"):
        progress.host_started(host, INSTALL)
        progress.host_done(host, INSTALL)
    clock.now += 1.5
    assert rows(progress.task_started(OTHER)) == ["done          edge on edge: 2 hosts, 1.5 s"]


def test_a_slow_stage_says_that_it_has_begun() -> None:
    progress, clock = started()
    clock.now += 70
    progress.task_started(INSTALL)
    assert progress.overdue() == []
    clock.now += 3
    assert rows(progress.overdue()) == ["begin         edge on edge (2 hosts), 1:10 into the run"]
    assert progress.overdue() == []


def test_hosts_with_the_same_change_share_a_line_in_the_order_of_the_play() -> None:
    progress, _clock = started(live=True)
    progress.task_started(INSTALL)
    assert progress.changed("edge2", INSTALL, "nginx") == []
    assert progress.changed("edge1", INSTALL, "nginx") == []
    assert progress.changed("edge3", INSTALL, "other") == []
    assert rows(progress.task_started(CONFIGURE)) == [
        "changed       edge: install | Install nginx: edge1, edge2 (nginx)",
        "changed       edge: install | Install nginx: edge3 (other)",
    ]


def test_a_free_strategy_shows_changes_at_once_and_several_stages() -> None:
    progress, clock = started(live=True, free=True)
    progress.task_started(INSTALL)
    progress.host_started("edge1", INSTALL)
    progress.host_done("edge1", INSTALL)
    progress.task_started(OTHER)
    progress.host_started("edge1", OTHER)
    clock.now += 5
    assert progress.live_lines(80) == [
        "  0:05  edge on edge  1/2 hosts  install | Install nginx",
        "  0:05  mongodb on edge  0/2 hosts  install | Install mongod",
    ]
    assert rows(progress.changed("edge1", OTHER, "")) == ["changed       mongodb: install | Install mongod: edge1"]
    assert [line.word for line in progress.end_stages()] == [Word.DONE, Word.DONE]


def test_check_mode_is_marked() -> None:
    progress, _clock = started(live=True, check=True)
    progress.task_started(INSTALL)
    progress.changed("edge1", INSTALL, "")
    progress.host_done("edge1", INSTALL)
    assert rows(progress.end_stages()) == [
        "would change  edge: install | Install nginx: edge1",
        "done          edge on edge: 1 host, 1 would change, 0.0 s",
    ]
    recap = rows(progress.recap({"edge1": {"ok": 3, "changed": 1}}))
    assert "would change  edge1      3             1" in recap
    assert recap[-1] == "done          1 host, 1 change would be made (check mode), 0.0 s"


def test_a_failure_is_shown_at_once_and_only_once_in_full() -> None:
    progress, _clock = started()
    progress.task_started(INSTALL)
    assert rows(progress.failed("edge1", INSTALL, ["no such package", "nginx"])) == [
        "begin         edge on edge (2 hosts), 0:00 into the run",
        "failed        edge1: edge: install | Install nginx",
        "              no such package",
        "              nginx",
    ]
    assert rows(progress.failed("edge2", INSTALL, ["no such package", "nginx"])) == [
        "failed        edge2: edge: install | Install nginx (the same as on edge1)"
    ]
    assert rows(progress.end_stages()) == ["failed        edge on edge: 1 host, 2 failed, 0.0 s"]


def test_what_to_do_next_names_host_task_place_and_limit() -> None:
    progress, clock = started(live=True)
    progress.task_started(INSTALL)
    progress.failed("edge1", INSTALL, ["no"])
    progress.failed("edge2", INSTALL, ["gone"], unreachable=True)
    clock.now += 65
    recap = rows(progress.recap({"edge1": {"failures": 1}, "edge2": {"unreachable": 1}, "api1": {"ok": 1}}))
    assert recap[-4:] == [
        "failed        2 hosts of 3 did not get through, 1 min 5 s. What to do next:",
        '              - edge1 failed at "edge: install | Install nginx" (roles/edge/tasks/install.yml:2)',
        '              - edge2 was unreachable at "edge: install | Install nginx" (roles/edge/tasks/install.yml:2)',
        "              - correct the cause shown above, then run the same command with: --limit edge1,edge2",
    ]


def test_ignored_and_rescued_failures_are_marked_and_do_not_fail_the_stage() -> None:
    progress, _clock = started(live=True)
    progress.task_started(INSTALL)
    assert rows(progress.failed("edge1", INSTALL, ["no"], ignored=True))[0] == "ignored       edge1: edge: install | Install nginx"
    assert rows(progress.failed("edge1", INSTALL, ["gone"], ignored=True, unreachable=True))[0].endswith("(unreachable)")
    progress.task_started(RISKY)
    assert rows(progress.failed("edge1", RISKY, ["no"]))[0] == "failed        edge1: edge: try | Try (a rescue follows)"
    assert rows(progress.end_stages())[0].startswith("done ")
    assert rows(progress.recap({"edge1": {"ok": 2, "rescued": 1, "ignored": 2}}))[-1].startswith("done ")


def test_a_host_that_was_lost_does_not_count_any_more() -> None:
    progress, _clock = started(live=True)
    progress.task_started(INSTALL)
    progress.failed("edge1", INSTALL, ["no"])
    progress.play_started("Next", "edge", ["edge1", "edge2"])
    progress.task_started(OTHER)
    assert "0/1 hosts" in progress.live_lines(80)[0]


def test_elements_of_a_loop_tell_the_reason_the_task_only_fails() -> None:
    progress, _clock = started(live=True)
    progress.task_started(INSTALL)
    assert rows(progress.failed("edge1", INSTALL, ["no"], item="b"))[0] == "failed        edge1: edge: install | Install nginx [b]"
    assert progress.failed("edge1", INSTALL, []) == []
    assert rows(progress.end_stages()) == ["failed        edge on edge: 1 host, 1 failed, 0.0 s"]


def test_handlers_and_tasks_outside_of_roles_have_stages_of_their_own() -> None:
    progress, clock = started(live=True)
    progress.task_started(LONE)
    progress.host_done("edge1", LONE)
    clock.now += 5
    assert rows(progress.task_started(RELOAD)) == ["done          Edge on edge: 1 host, 5.0 s"]
    progress.host_done("edge1", RELOAD)
    assert rows(progress.end_stages()) == ["done          edge (handlers) on edge: 1 host, 0.0 s"]


def test_quick_tasks_outside_of_roles_are_not_worth_a_line() -> None:
    progress, _clock = started(live=True)
    progress.task_started(LONE)
    progress.host_done("edge1", LONE)
    assert progress.end_stages() == []


def test_a_play_without_a_name_is_called_tasks() -> None:
    progress = Progress(Clock(), live=True)
    progress.play_started("edge", "edge", ["edge1"])
    progress.task_started(LONE)
    progress.changed("edge1", LONE, "")
    assert rows(progress.end_stages())[-1] == "done          tasks on edge: 1 host, 1 changed, 0.0 s"


def test_live_lines_show_progress_and_retries_within_the_width() -> None:
    progress, clock = started(live=True)
    progress.task_started(INSTALL)
    progress.host_done("edge1", INSTALL)
    progress.retrying("edge2", INSTALL, 2, 5)
    clock.now += 3700
    assert progress.live_lines(120) == ["1:01:40  edge on edge  1/2 hosts  install | Install nginx (try 2 of 5 on edge2)"]
    assert width_of(progress.live_lines(30)[0]) <= 30


def test_the_slowest_five_roles_are_named() -> None:
    progress, clock = started(live=True)
    for number in range(7):
        progress.task_started(TaskInfo(str(number), "x", f"role{number}"))
        clock.now += number
    recap = rows(progress.recap({"edge1": {"ok": 1}}))
    at = recap.index("note          slowest roles:")
    assert [row.split() for row in recap[at + 1 : at + 6]] == [[f"role{number}", f"{number}.0", "s"] for number in (6, 5, 4, 3, 2)]
    assert recap[at + 6] == ""


def test_statistics_of_the_playbook_are_shown() -> None:
    progress, _clock = started(live=True)
    assert "              releases: 3" in rows(progress.recap({"edge1": {"ok": 1}}, ["releases: 3"]))


def test_a_run_without_hosts_says_so() -> None:
    assert rows(Progress(Clock()).recap({}))[-1] == "note          nothing was run, 0.0 s. No host matched."


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"msg": "bad\n  worse"}, ["bad", "  worse"]),
        ({"msg": "Task failed: Action failed: bad"}, ["bad"]),
        ({"msg": ["a", {"b": 1}]}, ["a", "b: 1"]),
        (
            {"msg": "non-zero return code", "rc": 2, "cmd": ["nginx", "-t", "a b"], "stderr": "x\ny"},
            ["exit code 2 of: nginx -t 'a b'", "stderr:", "  x", "  y"],
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback"}, ["MODULE FAILURE", "stderr:", "  Traceback"]),
        ({"msg": "said: x", "stderr": "x"}, ["said: x"]),
        ({"msg": "Assertion failed", "assertion": "a == b"}, ["Assertion failed", "not true: a == b"]),
        ({}, ["(no reason was given)"]),
        ({"msg": "a\x1b[31mb\x07"}, ["ab"]),
    ],
)
def test_reasons_of_failures(result: dict[str, object], expected: list[str]) -> None:
    assert failure_rows(result) == expected


def test_long_output_is_cut_to_its_end() -> None:
    output = "\n".join(str(number) for number in range(100))
    found = failure_rows({"msg": "x", "stdout": output})
    assert found[1] == f"stdout (the last {TAIL} of 100 lines):"
    assert found[2:] == [f"  {number}" for number in range(100 - TAIL, 100)]


@pytest.mark.parametrize("mark", [{"_ansible_no_log": True}, {"censored": "x"}])
def test_hidden_results_stay_hidden(mark: dict[str, object]) -> None:
    result = {"msg": "topsecret", "stderr": "topsecret", "plan": ["topsecret"], **mark}
    assert "topsecret" not in "".join(failure_rows(result, "linda.ops.edge"))
    assert "edge_secure_logging: false" in failure_rows(result, "linda.ops.edge")[0]
    assert change_reason(result) == ""


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"msg": "a  b\nc"}, "a b c"),
        ({"plan": ["one", "two"], "msg": "x"}, "one\ntwo"),
        ({"plan": [str(number) for number in range(9)]}, "0\n1\n2\n3\n4\nand 4 more"),
        ({"dest": "/etc/x"}, "/etc/x"),
        ({"msg": "All items completed"}, ""),
        ({"msg": 5, "path": ["x"]}, ""),
    ],
)
def test_reasons_of_changes(result: dict[str, object], expected: str) -> None:
    assert change_reason(result) == expected


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [(0, "0:00", "0.0 s"), (9.94, "0:09", "9.9 s"), (59, "0:59", "59 s"), (61, "1:01", "1 min 1 s"), (3661, "1:01:01", "1 h 1 min")],
)
def test_durations(seconds: float, short: str, long: str) -> None:
    assert clock_text(seconds) == short
    assert seconds_text(seconds) == long


@given(st.text(), st.integers(3, 200))
def test_a_row_fits_and_holds_no_control_character(text: str, width: int) -> None:
    row = fit(text, width)
    assert width_of(row) <= width
    assert "\x1b" not in row
    assert "\n" not in row


@given(st.text())
def test_clean_leaves_only_text(text: str) -> None:
    assert not set(clean(text)) & {chr(code) for code in range(32) if chr(code) not in "\n\t"}
    assert clean(clean(text)) == clean(text)


TASKS = st.sampled_from([INSTALL, CONFIGURE, OTHER, RELOAD, RISKY, LONE])
HOSTS = st.sampled_from(["edge1", "edge2", "stranger"])


class AnyOrder(RuleBasedStateMachine):
    """Ansible's strategies send events in orders nobody thought of; none may raise or lose a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.progress = Progress(self.clock)
        self.shown: list[str] = []

    @rule(name=st.sampled_from(["", "Edge"]), hosts=st.lists(HOSTS, unique=True), free=st.booleans(), check=st.booleans())
    def play(self, name: str, hosts: list[str], free: bool, check: bool) -> None:
        self.shown += rows(self.progress.play_started(name, "edge", hosts, free, check))

    @rule(task=TASKS, once=st.booleans())
    def task(self, task: TaskInfo, once: bool) -> None:
        self.shown += rows(self.progress.task_started(task, once))

    @rule(task=TASKS, host=HOSTS, reason=st.sampled_from(["", "x", "a\nb"]))
    def change(self, task: TaskInfo, host: str, reason: str) -> None:
        self.shown += rows(self.progress.changed(host, task, reason))

    @rule(task=TASKS, host=HOSTS, ignored=st.booleans(), unreachable=st.booleans(), item=st.none() | st.just("i"))
    def fail(self, task: TaskInfo, host: str, ignored: bool, unreachable: bool, item: str | None) -> None:
        shown = rows(self.progress.failed(host, task, ["why"], ignored, unreachable, item))
        assert any(host in row for row in shown)
        self.shown += shown

    @rule(task=TASKS, host=HOSTS)
    def host(self, task: TaskInfo, host: str) -> None:
        self.progress.host_started(host, task)
        self.progress.retrying(host, task, 1, 3)
        self.progress.host_done(host, task)
        self.clock.now += 1.3

    @invariant()
    def draws(self) -> None:
        assert all(width_of(row) <= 60 for row in self.progress.live_lines(60))
        self.shown += rows(self.progress.overdue())

    def teardown(self) -> None:
        assert rows(self.progress.recap({"edge1": {"ok": 1, "failures": 1}}))[-1].endswith("--limit edge1")


TestAnyOrder = AnyOrder.TestCase
