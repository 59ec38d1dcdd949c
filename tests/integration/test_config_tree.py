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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._config_tree_engine import Failed, run
from config_tree_harness import Files, answer, check, contents, free_port, go, live, no_scraps, request, run_and_die, settled

NGINX_CHECK = ["nginx", "-t", "-q", "-p", "{staged}", "-c", "nginx.conf"]


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


# --- sshd -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Sshd:
    """A real sshd in a directory of its own; reloaded by a signal, which makes it read its configuration anew or die."""

    base: Path
    port: int

    def options(self, **probe: Any) -> dict[str, Any]:
        pid, daemon = f"{self.base}/pid", f"{shutil.which('sshd')} -f {self.base}/etc/sshd_config"
        start = f"if test -e {pid}; then kill -HUP $(cat {pid}); else {daemon}; fi"
        return {
            "validate": [["sshd", "-t", "-f", "{staged}/sshd_config"]],
            "apply": [{"paths": ["sshd_config"], "argv": ["sh", "-c", start]}],
            "probe": [probe or {"argv": ["sh", "-c", f"ssh-keyscan -p {self.port} 127.0.0.1 2>/dev/null | grep -q ed25519"]}],
        }

    def tree(self, extra: str = "") -> dict[str, str]:
        lines = [f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.base}/key", f"PidFile {self.base}/pid", extra]
        return {"sshd_config": "\n".join(lines) + "\n"}

    def banner(self) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            return connection.recv(100).decode()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    assert shutil.which("sshd"), "install the packages of requirements/debian-test.txt"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd changes root to it; systemd makes it elsewhere
    daemon = Sshd(tmp_path, free_port())
    try:
        yield daemon
    finally:
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


def test_sshd_keeps_serving_through_every_failure(sshd: Sshd) -> None:
    good = sshd.tree()
    go(sshd.base, good, **sshd.options())
    assert sshd.banner().startswith("SSH-2.0-")
    before = contents(sshd.base / "etc")
    with pytest.raises(Failed, match=rf"{sshd.base}/etc/sshd_config: line 5: Bad configuration option: PermitEverything"):
        run(request(sshd.base, sshd.tree("PermitEverything yes"), **sshd.options()))
    with pytest.raises(Failed, match=r"probe: tcp 127.0.0.1:1 did not succeed within 0.3 seconds: .*refused") as failure:
        run(request(sshd.base, sshd.tree("LoginGraceTime 7"), **sshd.options(tcp="127.0.0.1:1"), deadline=0.3))
    assert failure.value.outcome.rolled_back
    assert contents(sshd.base / "etc") == before
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            assert sshd.banner().startswith("SSH-2.0-")
            break
    settled(sshd.base, good, **sshd.options())
    done = go(sshd.base, sshd.tree("LoginGraceTime 9"), **sshd.options())
    assert done.swap_order == "default"
    assert "+LoginGraceTime 9" not in done.diff[0]["before"]
    no_scraps(sshd.base)


# --- death at every moment --------------------------------------------------------------------------------------------


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
