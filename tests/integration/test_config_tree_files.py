"""config_tree and the file system: what stands in the way, what others changed, who owns what, and where things are staged."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.linda.ops.plugins.module_utils._config_tree_engine import Failed, Outcome, run
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError
from ansible_collections.linda.ops.plugins.module_utils._config_tree_record import Record
from config_tree_harness import check, contents, go, live, no_scraps, request, run_and_die, settled


def counting(base: Path, paths: list[str] | None = None, name: str = "log") -> dict[str, object]:
    return {"paths": paths or ["**"], "argv": ["sh", "-c", f"echo x >> {base}/{name}"]}


def count(base: Path, name: str = "log") -> int:
    path = base / name
    return len(path.read_text().splitlines()) if path.exists() else 0


# --- modes, owners, links ---------------------------------------------------------------------------------------------


def test_modes_owners_and_directories(tmp_path: Path) -> None:
    options = {
        "modes": [{"pattern": "secret/*", "mode": "0640", "group": "www-data"}, {"pattern": "**", "mode": "0644"}],
        "directories": [{"path": "secret", "mode": "0750", "owner": "www-data"}, {"path": "empty", "mode": "01777"}],
    }
    files = {"secret/key": "k\n", "plain": "p\n"}
    go(tmp_path, files, **options)
    etc = tmp_path / "etc"
    assert stat.S_IMODE((etc / "secret/key").stat().st_mode) == 0o640
    assert (etc / "secret/key").group() == "www-data"
    assert stat.S_IMODE((etc / "plain").stat().st_mode) == 0o644
    assert stat.S_IMODE((etc / "secret").stat().st_mode) == 0o750
    assert (etc / "secret").owner() == "www-data"
    assert stat.S_IMODE((etc / "empty").stat().st_mode) == 0o1777
    settled(tmp_path, files, **options)
    (etc / "secret/key").chmod(0o666)
    os.chown(etc / "plain", 1, 1)
    (etc / "empty").chmod(0o700)
    done = go(tmp_path, files, **options)
    assert set(done.drifted) == set(done.changes) == {f"{etc}/secret/key", f"{etc}/plain", f"{etc}/empty"}
    assert {"before_header": f"{etc}/plain (attributes)", "after_header": f"{etc}/plain (attributes)"}.items() <= done.diff[1].items()
    assert "owner: daemon" in done.diff[1]["before"]
    assert "owner: root" in done.diff[1]["after"]
    settled(tmp_path, files, **options)


def test_existing_parents_keep_their_mode(tmp_path: Path) -> None:
    (tmp_path / "etc/sub").mkdir(parents=True, mode=0o700)
    (tmp_path / "etc").chmod(0o711)
    go(tmp_path, {"sub/a": "a"})
    assert stat.S_IMODE((tmp_path / "etc").stat().st_mode) == 0o711
    assert stat.S_IMODE((tmp_path / "etc/sub").stat().st_mode) == 0o700


def test_links_are_swapped_with_the_tree_and_rolled_back_with_it(tmp_path: Path) -> None:
    outside = tmp_path / "current"
    options = {"links": [{"path": "enabled/a", "target": "../available/a"}, {"path": str(outside), "target": "releases/1"}]}
    files = {"available/a": "a"}
    go(tmp_path, files, **options)
    assert (tmp_path / "etc/enabled/a").read_text() == "a"
    assert os.readlink(outside) == "releases/1"
    settled(tmp_path, files, **options)
    moved = {"links": [options["links"][0], {"path": str(outside), "target": "releases/2"}], "apply": [counting(tmp_path)]}
    with pytest.raises(Failed):
        run(request(tmp_path, files, **{**moved, "probe": [{"argv": ["false"]}], "deadline": 0.1}))
    assert os.readlink(outside) == "releases/1"
    done = go(tmp_path, files, **moved)
    assert done.changes == [str(outside)]
    assert done.diff[0]["before"] == "link to releases/1\n"
    assert os.readlink(outside) == "releases/2"
    dropped = go(tmp_path, files)
    assert set(dropped.changes) == {str(outside), f"{tmp_path}/etc/enabled/a", f"{tmp_path}/etc/enabled"}
    assert not outside.is_symlink()


# --- what stands in the way -------------------------------------------------------------------------------------------


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "etc/a").symlink_to(tmp_path / "victim")
    done = go(tmp_path, {"a": "ours"})
    assert done.diff[0]["before"] == f"link to {tmp_path}/victim\n"
    assert (tmp_path / "victim").read_text() == "untouched"
    assert live(tmp_path) == {"a": "ours"}
    assert go(tmp_path, {}).released == [f"{tmp_path}/etc/a"]


def test_nothing_is_written_through_a_directory_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "etc/sub").symlink_to(tmp_path / "elsewhere")
    for attempt in (check, go):
        with pytest.raises(ConfigTreeError, match=r"sub is a link to .*/elsewhere, but files below it"):
            attempt(tmp_path, {"sub/a": "a"})
    assert not list((tmp_path / "elsewhere").iterdir())
    go(tmp_path, {"sub/a": "a"}, directories=[{"path": "sub"}])
    assert not (tmp_path / "etc/sub").is_symlink()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_directory_becomes_a_file_and_back_also_when_rolled_back(tmp_path: Path) -> None:
    folder, plain = {"x/a": "a", "x/deep/b": "b"}, {"x": "file"}
    go(tmp_path, folder)
    before = contents(tmp_path / "etc")
    with pytest.raises(Failed):
        run(request(tmp_path, plain, apply=[{"argv": ["false"]}]))
    assert contents(tmp_path / "etc") == before
    go(tmp_path, plain)
    assert live(tmp_path) == plain
    settled(tmp_path, plain)
    go(tmp_path, folder)
    assert live(tmp_path) == folder
    settled(tmp_path, folder)


def test_a_directory_with_strangers_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "etc/x").mkdir(parents=True)
    (tmp_path / "etc/x/theirs").write_text("theirs")
    with pytest.raises(ConfigTreeError, match="x is a directory that holds x/theirs"):
        go(tmp_path, {"x": "file"})
    assert live(tmp_path) == {"x/theirs": "theirs"}


def test_dest_may_be_reached_through_a_link_but_not_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "etc").symlink_to("real")
    go(tmp_path, {"a": "a"})
    assert (tmp_path / "real/a").read_text() == "a"
    settled(tmp_path, {"a": "a"})
    (tmp_path / "etc").unlink()
    (tmp_path / "etc").symlink_to("/")
    with pytest.raises(ConfigTreeError, match="root directory"):
        check(tmp_path, {"a": "a"})


# --- drift, watch, ownership ------------------------------------------------------------------------------------------


def test_drift_is_reported_repaired_and_applied(tmp_path: Path) -> None:
    options = {"apply": [counting(tmp_path)]}
    files = {"a": "a\n", "b": "b\n"}
    go(tmp_path, files, **options)
    assert count(tmp_path) == 1
    (tmp_path / "etc/a").write_text("theirs\n")
    (tmp_path / "etc/b").unlink()
    done = go(tmp_path, files, **options)
    assert done.drifted == [f"{tmp_path}/etc/a", f"{tmp_path}/etc/b"]
    assert count(tmp_path) == 2
    settled(tmp_path, files, **options)


def test_a_file_that_others_brought_to_the_new_content_still_has_to_be_applied(tmp_path: Path) -> None:
    options = {"apply": [counting(tmp_path)]}
    go(tmp_path, {"a": "1\n"}, **options)
    (tmp_path / "etc/a").write_text("2\n")
    done = go(tmp_path, {"a": "2\n"}, **options)
    assert (done.changed, done.changes) == (True, [])
    assert count(tmp_path) == 2


def test_each_step_is_for_its_own_paths_and_runs_once(tmp_path: Path) -> None:
    second = counting(tmp_path, ["sub/**", "b"], "B")
    options = {"apply": [counting(tmp_path, ["a*"], "A"), second, second]}
    go(tmp_path, {"a": "1", "sub/x": "1", "b": "1"}, **options)
    assert (count(tmp_path, "A"), count(tmp_path, "B")) == (1, 1)
    go(tmp_path, {"a": "2", "sub/x": "1", "b": "1"}, **options)
    assert (count(tmp_path, "A"), count(tmp_path, "B")) == (2, 1)
    go(tmp_path, {"a": "2", "b": "2"}, **options)
    assert (count(tmp_path, "A"), count(tmp_path, "B")) == (2, 2)
    settled(tmp_path, {"a": "2", "b": "2"}, **options)


@pytest.mark.parametrize("kind", ["file", "link", "directory", "absent"])
def test_a_watched_path_triggers_its_steps(tmp_path: Path, kind: str) -> None:
    watched = tmp_path / "certificate"
    (tmp_path / "one").write_text("1")
    if kind == "file":
        watched.write_text("1")
    elif kind == "link":
        watched.symlink_to("one")
    elif kind == "directory":
        watched.mkdir()
    options = {"watch": [str(watched)], "apply": [counting(tmp_path, [str(watched)], "A"), counting(tmp_path, ["a"], "B")]}
    go(tmp_path, {"a": "1"}, **options)
    settled(tmp_path, {"a": "1"}, **options)
    (tmp_path / "one").write_text("2")
    if kind in ("file", "absent"):
        watched.write_text("2")
    elif kind == "directory":
        (watched / "key").write_text("2")
    done = go(tmp_path, {"a": "1"}, **options)
    assert (done.changed, done.changes) == (True, [])
    assert (count(tmp_path, "A"), count(tmp_path, "B")) == (2, 1)
    settled(tmp_path, {"a": "1"}, **options)


def test_a_file_moves_from_one_tree_to_another(tmp_path: Path) -> None:
    go(tmp_path, {"a": "1", "b": "1"}, name="first")
    go(tmp_path, {"b": "2"}, name="second")
    done = go(tmp_path, {"a": "1"}, name="first")
    assert not done.changed
    assert live(tmp_path) == {"a": "1", "b": "2"}
    assert not go(tmp_path, {"b": "2"}, name="second").changed


def test_two_trees_that_both_want_a_file_are_told_so(tmp_path: Path) -> None:
    go(tmp_path, {"a": "1"}, name="first")
    go(tmp_path, {"a": "2"}, name="second")
    for attempt in (check, go):
        with pytest.raises(ConfigTreeError, match="a is also managed by the tree second"):
            attempt(tmp_path, {"a": "1"}, name="first")
    go(tmp_path, {"a": "2", "x/y": "1"}, name="second")
    with pytest.raises(ConfigTreeError, match=r"x/y belongs to the tree second, so x cannot be exclusive"):
        go(tmp_path, {"x/z": "1"}, name="third", exclusive=["x"])


def test_without_a_record_everything_is_applied(tmp_path: Path) -> None:
    options = {"apply": [counting(tmp_path)]}
    go(tmp_path, {"a": "1"}, **options)
    shutil.rmtree(tmp_path / "state")
    done = go(tmp_path, {"a": "1"}, **options)
    assert (done.changed, done.changes) == (True, [])
    assert count(tmp_path) == 2
    settled(tmp_path, {"a": "1"}, **options)


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_sensitive_content_is_nowhere_in_the_outcome(tmp_path: Path) -> None:
    options = {"sensitive": ["secret/*"], "modes": [{"pattern": "secret/*", "mode": "0600"}]}
    for secret, verb in (("hunter2-first\n", "added"), ("hunter2-second and longer\n", "content changed")):
        done = go(tmp_path, {"secret/key": secret, "plain": "p"}, **options)
        assert "hunter2" not in repr(done)
        assert {"prepared": f"{tmp_path}/etc/secret/key: {verb} (sensitive, not shown)\n"} in done.diff
    quoting = ["sh", "-c", 'cat "$1/secret/key" >&2; echo the plain truth >&2; exit 1', "sh", "{staged}"]
    for attempt in (check, go):
        with pytest.raises(Failed) as failure:
            attempt(tmp_path, {"secret/key": "hunter2-third\n", "plain": "p"}, **options, validate=[quoting])
        assert "hunter2" not in str(failure.value)
        assert "the plain truth" in str(failure.value)
    removed = go(tmp_path, {"plain": "p"})
    assert "hunter2" not in repr(removed)
    state = tmp_path / "state"
    assert stat.S_IMODE((state / "t").stat().st_mode) == 0o700
    assert "hunter2" not in "".join(text for _mode, text in contents(state).values())


# --- check mode on a bare host ----------------------------------------------------------------------------------------


def test_check_mode_says_what_it_could_not_validate(tmp_path: Path) -> None:
    found = check(tmp_path, {"a": "1"}, validate=[["no-such-checker", "{staged}"]])
    assert found.not_validated == "no-such-checker: not installed"
    assert (found.changed, found.validated) == (True, False)
    assert check(tmp_path, {"a": "1"}, owner="no-such-user").changed
    absent = {"watch": [f"{tmp_path}/certificate"], "apply": [{"argv": ["true"]}], "validate": [["false"]]}
    assert check(tmp_path, {"a": "1"}, **absent).not_validated.startswith(f"{tmp_path}/certificate does not exist; false failed")
    assert not (tmp_path / "state").exists()
    with pytest.raises(ConfigTreeError, match="this host has no user no-such-user"):
        run(request(tmp_path, {"a": "1"}, owner="no-such-user"))
    with pytest.raises(Failed, match="no-such-checker is not installed"):
        run(request(tmp_path, {"a": "1"}, validate=[["no-such-checker", "{staged}"]]))
    assert not (tmp_path / "etc").exists()


def test_units_need_systemd(tmp_path: Path) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs this machine; the Molecule scenarios show units at work")
    for attempt in (check, go):
        with pytest.raises(ConfigTreeError, match=r"systemd does not run this host, so nginx.service cannot be handled"):
            attempt(tmp_path, {"a": "1"}, apply=[{"unit": "nginx"}])
    assert not (tmp_path / "etc").exists()


# --- where it is staged, who else is there ----------------------------------------------------------------------------


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the state directory."""
    directory = Path("/dev/shm") / f"config-tree-{uuid.uuid4().hex}"
    directory.mkdir()
    if directory.stat().st_dev == tmp_path.stat().st_dev:
        directory.rmdir()
        pytest.skip("/dev/shm is on the file system of the other temporary files")
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def test_dest_on_another_file_system(tmp_path: Path, other_device: Path) -> None:
    options = {"dest": str(other_device / "conf"), "links": [{"path": "l", "target": "a"}], "exclusive": ["x"]}
    go(tmp_path, {"a": "1", "x/b": "1"}, **options)
    before = contents(other_device)
    with pytest.raises(Failed):
        run(request(tmp_path, {"a": "2", "x/c": "1"}, **options, apply=[{"argv": ["false"]}]))
    assert contents(other_device) == before
    go(tmp_path, {"a": "2", "x/c": "1"}, **options)
    assert {path: text for path, (_mode, text) in contents(other_device / "conf").items()} == {"a": "2", "x": "", "x/c": "1", "l": "a"}
    settled(tmp_path, {"a": "2", "x/c": "1"}, **options)
    assert [path.name for path in other_device.iterdir()] == ["conf"]


def test_killed_at_every_change_across_file_systems(tmp_path: Path, other_device: Path) -> None:
    """Parts of dest may be mounted from elsewhere: then a copy waits beside its target."""
    inner = tmp_path / "etc" / "inner"
    inner.mkdir(parents=True)
    options = {"links": [{"path": str(other_device / "link"), "target": "x"}], "exclusive": ["."]}
    first, second = {"a": "1", "deep/gone": "1"}, {"a": "2", "new/b": "2"}
    run(request(tmp_path, first, **options))
    at = 0
    while True:
        target = (second, first)[at % 2]
        moved = {**options, "links": [{"path": str(other_device / "link"), "target": f"x{at % 2}"}]}
        through = run_and_die(request(tmp_path, target, **moved), at) >= 0
        run(request(tmp_path, target, **moved))
        assert live(tmp_path) == target
        assert [path.name for path in other_device.iterdir()] == ["link"]
        if through:
            break
        at += 1
    assert at > 30
    settled(tmp_path, target, **moved)
    no_scraps(tmp_path)


def die_in_apply(base: Path, files: dict[str, str]) -> None:
    """Swap, and die where the daemon should follow: once only, since the step is taken again when it is undone."""
    (base / "die").touch()
    child = os.fork()
    if child == 0:
        run(request(base, files, apply=[{"argv": ["sh", "-c", f"if rm {base}/die; then kill -9 $PPID; fi"]}]))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_what_cannot_be_undone_is_said_and_tried_again(tmp_path: Path) -> None:
    go(tmp_path, {"a": "1", "b": "1"})
    die_in_apply(tmp_path, {"a": "2", "b": "2"})
    (tmp_path / "etc/a").unlink()
    (tmp_path / "etc/a/in the way").mkdir(parents=True)
    for _attempt in range(2):
        with pytest.raises(ConfigTreeError, match=r"an earlier run died, and what it had done could not be undone: .*etc/a"):
            run(request(tmp_path, {"a": "1", "b": "1"}))
        assert (tmp_path / "etc/b").read_text() == "1"
    shutil.rmtree(tmp_path / "etc/a")
    done = go(tmp_path, {"a": "1", "b": "1"})
    assert done.recovered == "undone"
    assert live(tmp_path) == {"a": "1", "b": "1"}
    settled(tmp_path, {"a": "1", "b": "1"})
    no_scraps(tmp_path)


def test_a_dead_run_is_undone_even_if_the_next_one_is_refused(tmp_path: Path) -> None:
    go(tmp_path, {"a": "1"})
    die_in_apply(tmp_path, {"a": "2"})
    (tmp_path / "etc/sub").symlink_to("/nowhere")
    with pytest.raises(ConfigTreeError, match="sub is a link"):
        run(request(tmp_path, {"a": "2", "sub/x": "1"}))
    assert live(tmp_path) == {"a": "1"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)], check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_leaves_the_old_tree(small_disk: Path) -> None:
    go(small_disk, {"a": "1" * 50_000, "b": "1"})
    with pytest.raises(Failed, match=r"(?s)No space left on device.*The live files were not touched"):
        run(request(small_disk, {"a": "2" * 300_000, "b": "2"}))
    assert live(small_disk) == {"a": "1" * 50_000, "b": "1"}
    once = small_disk.parent / "fill"
    once.touch()
    fill = ["sh", "-c", f"if rm {once}; then head -c 1000000 /dev/zero > {small_disk}/filler; exit 1; fi"]
    with pytest.raises(Failed) as failure:
        run(request(small_disk, {"a": "2" * 50_000, "b": "2"}, apply=[{"argv": fill}]))
    assert failure.value.outcome.rolled_back
    assert live(small_disk) == {"a": "1" * 50_000, "b": "1"}
    (small_disk / "filler").unlink()
    run(request(small_disk, {"a": "1" * 50_000, "b": "1"}))
    settled(small_disk, {"a": "1" * 50_000, "b": "1"})


def _hold(base: Path, held: float) -> None:
    with Record(str(base / "state"), "t").locked():
        (base / "held").touch()
        time.sleep(held)
        (base / "free").touch()


def test_a_run_waits_for_one_that_is_still_going_on(tmp_path: Path) -> None:
    other = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, 0.5))
    other.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    assert run(request(tmp_path, {"a": "1"})) != Outcome()
    assert (tmp_path / "free").exists()
    other.join()
    with Record(str(tmp_path / "state"), "t").locked(), pytest.raises(ConfigTreeError, match="another run has held"):
        Record(str(tmp_path / "state"), "t").locked(0.2).__enter__()


def test_whatever_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    go(tmp_path, {"a": "1"})
    record = tmp_path / "state/t"
    (record / "stage/tree").mkdir(parents=True)
    (record / "stage/tree/a").write_text("half")
    (record / "backup").mkdir()
    (record / "journal.json.new").write_text("{")
    (record / "again").write_text("x")
    settled(tmp_path, {"a": "1"})
    no_scraps(tmp_path)


def test_names_that_are_no_text_are_removed_from_exclusive_directories(tmp_path: Path) -> None:
    go(tmp_path, {"x/a": "1"}, exclusive=["x"])
    strange = os.fsencode(tmp_path / "etc/x") + b"/\xff\n name"
    with open(strange, "wb"):
        pass
    done = go(tmp_path, {"x/a": "1"}, exclusive=["x"])
    assert len(done.changes) == 1
    assert r"\udcff" in json.dumps(done.report(), ensure_ascii=False).encode().decode()
    assert not os.path.lexists(strange)


def test_a_pipe_in_an_exclusive_directory_is_refused_not_removed(tmp_path: Path) -> None:
    (tmp_path / "etc/x").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/x/pipe")
    with pytest.raises(ConfigTreeError, match="x/pipe is neither file, directory nor link"):
        go(tmp_path, {"x/a": "1"}, exclusive=["x"])
