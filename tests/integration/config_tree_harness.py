"""What the tests of config_tree share: requests as a playbook makes them, checks of what is left, and sudden death."""

from __future__ import annotations

import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._config_tree_engine import Outcome, Request, run
from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import ARGUMENTS, build_tree

Files = Mapping[str, str]

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
        confirm=more.get("confirm"),
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
