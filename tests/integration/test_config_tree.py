"""config_tree against a real nginx and a real sshd on loopback: failures at every stage, and death at every moment."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._config_tree_engine import Failed, Outcome, Request, run
from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import ARGUMENTS, build_tree

Files = Mapping[str, str]

NGINX_CHECK = ["nginx", "-t", "-q", "-p", "{staged}", "-c", "nginx.conf"]
NO_PROBE: dict[str, Any] = {"tcp": None, "url": None, "argv": None, "status": [200], "server_name": None, "ca_file": None, "body": None}
NO_STEP: dict[str, Any] = {"paths": ["**"], "unit": None, "argv": None, "action": "reload", "enabled": None}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answer(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
        return str(response.read().decode())


def request(base: Path, files: Files, **more: Any) -> Request:
    """A request for ``base/etc`` with the state in ``base/state``; options as in a playbook."""
    defaults = {name: option.get("default") for name, option in ARGUMENTS.items()}
    options = {**defaults, "name": "t", "dest": str(base / "etc"), **more}
    tree = build_tree(options, {path: (content.encode(), False) for path, content in files.items()})
    return Request(
        name=options["name"],
        tree=tree,
        validate=options["validate"],
        watch=options["watch"],
        apply=[{**NO_STEP, **step} for step in options["apply"]],
        probe=[{**NO_PROBE, **probe} for probe in options["probe"]],
        deadline=more.get("deadline", 5),
        state_directory=str(base / "state"),
        check_mode=more.get("check_mode", False),
        with_diff=True,
    )


def check(base: Path, files: Files, **more: Any) -> Outcome:
    return run(request(base, files, check_mode=True, **more))


def go(base: Path, files: Files, **more: Any) -> Outcome:
    """Predict, run, and hold the prediction against the run."""
    before = [contents(base / part) for part in ("etc", "state")]
    predicted = check(base, files, **more)
    assert [contents(base / part) for part in ("etc", "state")] == before, "check mode changed something"
    done = run(request(base, files, **more))
    assert (predicted.changed, predicted.diff, predicted.changes) == (done.changed, done.diff, done.changes)
    return done


def settled(base: Path, files: Files, **more: Any) -> None:
    """One more run, and one more check, find nothing to do."""
    for again in (run(request(base, files, **more)), check(base, files, **more)):
        assert again == Outcome(released=again.released), again


def contents(base: Path) -> dict[str, tuple[int, str]]:
    """Everything below a directory: mode and content (or link text) by path."""
    found = {}
    for path in sorted(base.rglob("*")):
        mode = path.lstat().st_mode
        if path.is_symlink():
            found[str(path.relative_to(base))] = (mode, os.readlink(path))
        elif path.is_file():
            found[str(path.relative_to(base))] = (mode, path.read_text(errors="replace"))
        elif path.is_dir():
            found[str(path.relative_to(base))] = (mode, "")
    return found


def live(base: Path) -> dict[str, str]:
    """Contents of the files below etc."""
    etc = base / "etc"
    return {str(path.relative_to(etc)): path.read_text() for path in sorted(etc.rglob("*")) if path.is_file() and not path.is_symlink()}


def no_scraps(base: Path) -> None:
    """Nothing of a transaction is left but its record."""
    assert {path.name for path in (base / "state" / "t").iterdir()} <= {"applied.json", "lock"}
    assert not [path for path in base.rglob("*") if "config_tree" in path.name]


# --- nginx ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Nginx:
    """A real nginx in a directory of its own."""

    base: Path
    port: int

    @property
    def options(self) -> dict[str, Any]:
        prefix = f"nginx -p {self.base}/etc -c nginx.conf"
        return {
            "validate": [NGINX_CHECK],
            "exclusive": ["sites"],
            "apply": [{"argv": ["sh", "-c", f"if test -s {self.base}/pid; then {prefix} -s reload; else {prefix}; fi"]}],
            "probe": [{"tcp": f"127.0.0.1:{self.port}"}],
        }

    def tree(self, sites: Files, *, before_sites: str = "", **others: str) -> dict[str, str]:
        main = f"pid {self.base}/pid;\nerror_log {self.base}/error.log;\nworker_processes 1;\nevents {{}}\n"
        main += f"http {{\n  access_log off;\n{before_sites}  include sites/*.conf;\n}}\n"
        return {"nginx.conf": main, **{f"sites/{name}.conf": text for name, text in sites.items()}, **others}

    def site(self, word: str, extra: str = "") -> str:
        return f'server {{ listen 127.0.0.1:{self.port}; {extra} location / {{ return 200 "{word}"; }} }}\n'

    def accepts_live_tree(self) -> str:
        done = subprocess.run(
            ["nginx", "-t", "-q", "-p", str(self.base / "etc"), "-c", "nginx.conf"], capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stderr

    def wait_for(self, word: str) -> None:
        """A reload is asynchronous: old workers answer for a moment."""
        end = time.monotonic() + 10
        while (said := answer(self.port)) != word:
            assert time.monotonic() < end, f"nginx says {said!r}, not {word!r}"
            time.sleep(0.02)

    def stop(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((self.base / "pid").read_text()), signal.SIGQUIT)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    assert shutil.which("nginx"), "install the packages of requirements/debian-test.txt"
    daemon = Nginx(tmp_path, free_port())
    try:
        yield daemon
    finally:
        daemon.stop()


def test_check_run_check_run(nginx: Nginx) -> None:
    files = nginx.tree({"a": nginx.site("one")})
    done = go(nginx.base, files, **nginx.options)
    assert done.changed
    assert done.validated
    assert done.probed == [f"tcp 127.0.0.1:{nginx.port}"]
    assert {entry["after_header"] for entry in done.diff} == {str(nginx.base / "etc" / path) for path in (*files, "sites", ".")} - {
        str(nginx.base / "etc" / ".")
    } | {str(nginx.base / "etc")}
    nginx.wait_for("one")
    settled(nginx.base, files, **nginx.options)
    no_scraps(nginx.base)
    changed = nginx.tree({"a": nginx.site("two")})
    assert go(nginx.base, changed, **nginx.options).changes == [str(nginx.base / "etc/sites/a.conf")]
    nginx.wait_for("two")
    settled(nginx.base, changed, **nginx.options)


def test_a_rejected_tree_leaves_the_live_one_untouched(nginx: Nginx) -> None:
    good = nginx.tree({"a": nginx.site("one")})
    go(nginx.base, good, **nginx.options)
    before = contents(nginx.base / "etc")
    bad = nginx.tree({"a": nginx.site("two"), "b": "sorver {}\n"})
    with pytest.raises(Failed) as predicted:
        check(nginx.base, bad, **nginx.options)
    with pytest.raises(Failed) as failure:
        run(request(nginx.base, bad, **nginx.options))
    for error in (predicted.value, failure.value):
        assert f'unknown directive "sorver" in {nginx.base}/etc/sites/b.conf:1' in str(error)
        assert "stage" not in str(error)
        assert not error.outcome.changed
        assert not error.outcome.rolled_back
    assert contents(nginx.base / "etc") == before
    nginx.wait_for("one")
    settled(nginx.base, good, **nginx.options)
    no_scraps(nginx.base)


def test_a_failing_apply_is_rolled_back(nginx: Nginx) -> None:
    """The checker accepts an address that nobody may listen on; only the reload finds out."""
    good = nginx.tree({"a": nginx.site("one")})
    go(nginx.base, good, **nginx.options)
    before = contents(nginx.base / "etc")
    marker = nginx.base / "refuse"
    options = nginx.options
    options["apply"] = [{"argv": ["sh", "-c", f"test ! -e {marker} || ! grep -q two {nginx.base}/etc/sites/a.conf"]}, *options["apply"]]
    marker.touch()
    with pytest.raises(Failed) as failure:
        run(request(nginx.base, nginx.tree({"a": nginx.site("two")}), **options))
    assert str(failure.value).startswith("apply: sh -c test")
    assert "put back and applied again" in str(failure.value)
    assert failure.value.outcome.rolled_back
    assert contents(nginx.base / "etc") == before
    nginx.wait_for("one")
    settled(nginx.base, good, **nginx.options)
    no_scraps(nginx.base)


def test_a_failing_probe_is_rolled_back(nginx: Nginx) -> None:
    good = nginx.tree({"a": nginx.site("one")})
    go(nginx.base, good, **nginx.options)
    before = contents(nginx.base / "etc")
    options = {**nginx.options, "probe": [{"url": f"http://127.0.0.1:{nginx.port}/", "body": "two"}], "deadline": 1}
    bad = nginx.tree({"a": nginx.site("three"), "new": "# nothing\n"})
    with pytest.raises(Failed, match="the body does not contain 'two'") as failure:
        run(request(nginx.base, bad, **options))
    assert failure.value.outcome.rolled_back
    assert contents(nginx.base / "etc") == before
    nginx.wait_for("one")
    settled(nginx.base, good, **nginx.options)


def test_a_failing_first_install_leaves_nothing(nginx: Nginx) -> None:
    options = {**nginx.options, "probe": [{"tcp": f"127.0.0.1:{free_port()}"}], "deadline": 1}
    with pytest.raises(Failed) as failure:
        run(request(nginx.base, nginx.tree({"a": nginx.site("one")}), **options))
    assert failure.value.outcome.rolled_back
    assert not (nginx.base / "etc").exists()
    no_scraps(nginx.base)


def test_strangers_in_exclusive_directories_go_and_come_back_on_failure(nginx: Nginx) -> None:
    good = nginx.tree({"a": nginx.site("one")})
    go(nginx.base, good, **nginx.options)
    etc = nginx.base / "etc"
    (etc / "sites/theirs.conf").write_text("# theirs\n")
    (etc / "sites/theirs.conf").chmod(0o604)
    (etc / "sites/deep/er").mkdir(parents=True)
    (etc / "sites/deep/er/file").write_text("x")
    (etc / "sites/link").symlink_to("/nowhere")
    (etc / "outside").write_text("not ours")
    before = contents(etc)
    with pytest.raises(Failed):
        run(request(nginx.base, good, **{**nginx.options, "probe": [{"tcp": "127.0.0.1:1"}], "deadline": 1}))
    assert contents(etc) == before
    done = go(nginx.base, good, **nginx.options)
    assert {"prepared": f"{etc}/sites/theirs.conf: removed (not managed here, not shown)\n"} in done.diff
    assert live(nginx.base) == {**good, "outside": "not ours"}
    assert not (etc / "sites/deep").exists()
    settled(nginx.base, good, **nginx.options)


# --- death at every moment --------------------------------------------------------------------------------------------

_CALLS = {f"os.{call}" for call in ("rename", "remove", "mkdir", "rmdir", "symlink", "link", "chmod", "chown")} | {"subprocess.Popen"}


def changes_the_host(event: str, arguments: tuple[Any, ...]) -> bool:
    """Tell whether an audit event of Python precedes a system call that changes something; what only concerns the stage is scratch."""
    if event not in _CALLS and event != "open":
        return False
    if event == "subprocess.Popen" and any("/stage/rehearsal" in word for word in arguments[1]):
        return False
    paths = [argument for argument in arguments if isinstance(argument, str)]
    if paths and all("/state/t/stage/" in path for path in paths):
        return False
    return event != "open" or (isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))


def run_and_die(asked: Request, at: int) -> int:
    """Run in a child that is killed (SIGKILL) just before its ``at``-th change of the host; return how many changes there were.

    The audit hook exists in the child only, so the code under test knows nothing of it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if changes_the_host(event, arguments):
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)
        try:
            run(asked)
        finally:
            os.write(writer, str(seen).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    _pid, status = os.waitpid(child, 0)
    if said:
        return int(said)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return -1


def moving_trees(nginx: Nginx) -> tuple[dict[str, str], dict[str, str]]:
    """Two realistic trees between which no fixed order of kinds is safe.

    Forward, the added site needs a zone of the new main file, while the main file needs an added snippet; backward, the site has to go
    before the main file changes.
    """
    first = nginx.tree(
        {"a": nginx.site("one", "include snippets/old.conf;"), "gone": "map $host $gone { default 1; }\n"},
        **{"snippets/old.conf": "add_header X-Gone $gone;\n", "mime.types": "types { text/html html; }\n"},
    )
    second = nginx.tree(
        {
            "a": nginx.site("two", "include snippets/new.conf;"),
            "added": "map $host $added { default 1; }\n" + f"server {{ listen unix:{nginx.base}/sock; limit_req zone=slow; }}\n",
        },
        before_sites="  limit_req_zone $binary_remote_addr zone=slow:1m rate=9r/s;\n  include snippets/base.conf;\n",
        **{
            "snippets/new.conf": "add_header X-Added $added;\n",
            "snippets/base.conf": "server_tokens off;\n",
            "mime.types": "types { text/html html htm; }\n",
        },
    )
    return first, second


def test_killed_at_every_step_it_converges_and_nginx_accepts_every_state_on_the_way(nginx: Nginx) -> None:
    trees = moving_trees(nginx)
    options = nginx.options
    run(request(nginx.base, trees[0], **options))
    points = 0
    at = 0
    survived = 0
    while survived < 2:  # both directions are through
        target = 1 - at % 2  # forward and backward by turns, each killed at every second change
        asked = request(nginx.base, trees[target], **options)
        killed = run_and_die(asked, at) < 0
        points += killed
        survived = 0 if killed else survived + 1
        objection = nginx.accepts_live_tree()
        assert not objection, f"killed at change {at} towards tree {target}: {objection}"
        predicted = check(nginx.base, trees[target], **options) if at % 5 == 0 else None
        done = run(asked)
        assert predicted is None or (predicted.changed, predicted.diff) == (done.changed, done.diff)
        assert live(nginx.base) == trees[target], f"killed at change {at} towards tree {target}"
        nginx.wait_for(("one", "two")[target])
        if at % 10 == 0:
            settled(nginx.base, trees[target], **options)
            no_scraps(nginx.base)
        at += 1
    assert points >= 60, points


def test_killed_while_it_puts_things_back_the_old_tree_is_restored(nginx: Nginx) -> None:
    trees = moving_trees(nginx)
    options = nginx.options
    run(request(nginx.base, trees[0], **options))
    before = contents(nginx.base / "etc")
    doomed = request(nginx.base, trees[1], **{**options, "probe": [{"tcp": "127.0.0.1:1"}], "deadline": 0.1})
    points = 0
    at = run_and_die(doomed, sys.maxsize) - 45  # what comes before belongs to the test above
    while run_and_die(doomed, at) < 0:
        points += 1
        objection = nginx.accepts_live_tree()
        assert not objection, f"killed at change {at}: {objection}"
        done = run(request(nginx.base, trees[0], **options))
        assert contents(nginx.base / "etc") == before
        assert done.recovered in ("undone", ""), done
        nginx.wait_for("one")
        at += 1
    assert points >= 30, points
    settled(nginx.base, trees[0], **options)
    no_scraps(nginx.base)


def test_a_run_that_died_after_the_swap_is_finished(nginx: Nginx) -> None:
    """No file differs any more, and yet the daemon has to follow."""
    first, second = nginx.tree({"a": nginx.site("one")}), nginx.tree({"a": nginx.site("two")})
    run(request(nginx.base, first, **nginx.options))
    dies = {**nginx.options, "apply": [{"argv": ["sh", "-c", "kill -9 $PPID"]}]}
    child = os.fork()
    if child == 0:
        run(request(nginx.base, second, **dies))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert live(nginx.base) == second
    assert answer(nginx.port) == "one"
    done = go(nginx.base, second, **nginx.options)
    assert (done.changed, done.changes, done.recovered) == (True, [], "finished")
    nginx.wait_for("two")
    settled(nginx.base, second, **nginx.options)
    no_scraps(nginx.base)


def test_a_run_that_died_after_the_swap_is_undone_when_its_tree_turns_out_bad(nginx: Nginx) -> None:
    first, second = nginx.tree({"a": nginx.site("one")}), nginx.tree({"a": nginx.site("two")})
    run(request(nginx.base, first, **nginx.options))
    child = os.fork()
    if child == 0:
        run(request(nginx.base, second, **{**nginx.options, "apply": [{"argv": ["sh", "-c", "kill -9 $PPID"]}]}))
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(Failed) as failure:
        run(request(nginx.base, second, **{**nginx.options, "probe": [{"tcp": "127.0.0.1:1"}], "deadline": 0.2}))
    assert failure.value.outcome.rolled_back
    assert live(nginx.base) == first
    run(request(nginx.base, first, **nginx.options))
    nginx.wait_for("one")
    settled(nginx.base, first, **nginx.options)
