"""Commit-confirm without systemd: what the host's own undoing does with the journal, at every moment of the run that armed it.

Timers, units, sshd and packet filters are in tests/e2e/test_confirm.py; here the test stands for the timer that goes off.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from ansible_collections.linda.ops.plugins.module_utils import _config_tree_confirm as confirm
from ansible_collections.linda.ops.plugins.module_utils._config_tree_apply import have_systemd
from ansible_collections.linda.ops.plugins.module_utils._config_tree_engine import Failed, expire, run, settle
from config_tree_harness import live, request, run_and_die

OLD = {"a.conf": "one\n", "b.conf": "one\n", "gone.conf": "one\n"}
NEW = {"a.conf": "two\n", "b.conf": "two\n", "sites/c.conf": "two\n"}
LONG = 600


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree that is applied, on a host whose timer does not exist: `mark` alone tells that something is armed."""
    volatile = tmp_path / "run"
    monkeypatch.setattr(confirm, "VOLATILE", str(volatile))
    monkeypatch.setattr(confirm, "refuse_without_systemd", lambda: None)

    def arm(*, name: str, **_more: object) -> None:
        volatile.mkdir(exist_ok=True)
        (volatile / name).touch()

    monkeypatch.setattr(confirm, "arm", arm)
    run(request(tmp_path, OLD, **follow(tmp_path)))
    return tmp_path


def follow(base: Path) -> dict[str, object]:
    """A daemon that takes what is there: it keeps a copy of the first file."""
    return {"apply": [{"argv": ["cp", str(base / "etc/a.conf"), str(base / "daemon")]}]}


def timer_goes_off(base: Path) -> int:
    return expire(str(base / "state"), "t")


def test_undone_at_the_end_and_not_before(base: Path) -> None:
    done = run(request(base, NEW, confirm=1, **follow(base)))
    assert done.unconfirmed
    assert 0 < done.remaining <= 1
    assert (timer_goes_off(base), live(base)) == (0, NEW)
    time.sleep(1.1)
    assert (timer_goes_off(base), live(base)) == (0, OLD)
    assert (base / "daemon").read_text() == "one\n", "the daemon follows, too"
    with pytest.raises(
        Failed, match=r"The host undid the change of t at .*, because nobody had confirmed it when the 1 s for that were over"
    ):
        settle(str(base / "state"), "t", done.unconfirmed)
    assert "undid" in run(request(base, OLD, **follow(base))).expired
    assert run(request(base, OLD, **follow(base))).expired == ""


def test_confirmed_once_and_again_by_a_call_whose_answer_got_lost(base: Path) -> None:
    done = run(request(base, NEW, confirm=LONG, **follow(base)))
    for _call in range(2):
        assert settle(str(base / "state"), "t", done.unconfirmed).changed
    assert (timer_goes_off(base), live(base)) == (0, NEW)
    assert not run(request(base, NEW, confirm=LONG, **follow(base))).changed
    assert {path.name for path in (base / "state" / "t").iterdir()} <= {"applied.json", "lock"}


def test_a_word_for_a_change_that_is_not_there_any_more_is_refused(base: Path) -> None:
    first = run(request(base, NEW, confirm=LONG, **follow(base)))
    other = {"a.conf": "three\n"}
    second = run(request(base, other, confirm=LONG, **follow(base)))
    assert second.recovered == "undone"
    with pytest.raises(Failed, match="Another run has taken over"):
        settle(str(base / "state"), "t", first.unconfirmed)
    settle(str(base / "state"), "t", second.unconfirmed)
    assert live(base) == other


def test_without_confirm_the_same_change_is_finished_for_good(base: Path) -> None:
    run(request(base, NEW, confirm=LONG, **follow(base)))
    done = run(request(base, NEW, **follow(base)))
    assert (done.recovered, done.unconfirmed) == ("finished", "")
    (base / "run" / "t").unlink(missing_ok=True)
    assert (timer_goes_off(base), live(base)) == (0, NEW)


def test_a_start_of_the_host_undoes_before_any_daemon_runs(base: Path) -> None:
    run(request(base, NEW, confirm=LONG, **follow(base)))
    (base / "run" / "t").unlink()
    assert (timer_goes_off(base), live(base)) == (0, OLD)
    assert (base / "daemon").read_text() == "two\n", "no command while the host starts"
    assert "the host was started anew" in run(request(base, OLD, **follow(base))).expired


def test_a_run_that_hangs_is_ended(base: Path) -> None:
    hanging = {"apply": [{"argv": ["sh", "-c", f"grep -q one {base}/etc/a.conf || exec sleep 100"]}]}
    asked = request(base, NEW, confirm=1, **hanging)
    child = os.fork()
    if child == 0:
        try:
            run(asked)
        finally:
            os._exit(0)
    end = time.monotonic() + 10
    while live(base) != NEW:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1.1)
    assert (timer_goes_off(base), live(base)) == (0, OLD)
    _pid, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_killed_at_every_step_the_host_finds_its_old_state(base: Path) -> None:
    """Whatever a run had done when it died, the undoing that it armed puts everything back, and a later run gets through."""
    asked = request(base, NEW, confirm=LONG, **follow(base))
    points = 0
    while run_and_die(asked, points) < 0:
        (base / "run" / "t").unlink(missing_ok=True)
        assert timer_goes_off(base) == 0
        assert live(base) == OLD, f"killed at change {points}"
        points += 1
    assert points >= 30, points
    assert settle(str(base / "state"), "t", run(asked).unconfirmed).changed
    assert live(base) == NEW


# The refusal is about hosts without systemd; those with it have tests/e2e/test_confirm.py.
@pytest.mark.skipif(have_systemd(), reason="this host has systemd")
def test_without_systemd_it_is_refused_before_anything_changes(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="confirm: systemd does not run this host"):
        run(request(tmp_path, NEW, confirm=60))
    assert live(tmp_path) == {}
