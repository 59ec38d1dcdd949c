"""What a host of the scenario shows: limits of the running server, kernel settings, and a log that is really rotated."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import time
from pathlib import Path

LOG = Path("/var/log/mongodb/mongod.log")
PAGES = Path("/sys/kernel/mm/transparent_hugepage")


def run(*argv: str) -> str:
    """The output of a command that must succeed."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def server() -> Path:
    """The running server's directory below /proc."""
    return Path("/proc") / run("systemctl", "show", "--property=MainPID", "--value", "mongod.service")


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found!r}, not {wanted!r}")


def limits(process: Path) -> dict[str, str]:
    """The hard limits of a process by the kernel's names for them."""
    return {line[:26].strip(): line[26:].split()[1] for line in (process / "limits").read_text().splitlines()}


def judge_limits() -> None:
    """What the role asks for, as far as the machine of the lab may give it."""
    for limit, property_ in (("Max open files", "LimitNOFILE"), ("Max processes", "LimitNPROC")):
        expect(property_, run("systemctl", "show", f"--property={property_}", "--value", "mongod.service"), "64000")
        ceiling = limits(Path("/proc/1"))[limit]
        wanted = 64000 if ceiling == "unlimited" else min(64000, int(ceiling))
        expect(limit, limits(server())[limit], str(wanted))


def judge_kernel() -> None:
    """In the lab these are private copies of the kernel's files: what was written is what is read."""
    for name in ("enabled", "defrag"):
        said = (PAGES / name).read_text()
        expect(f"huge pages, {name}", "[never]" in said or said.strip() == "never", True)
    expect("swappiness", Path("/proc/sys/vm/swappiness").read_text().strip(), "1")
    expect("map count", Path("/proc/sys/vm/max_map_count").read_text().strip(), "1048576")
    expect("at boot", run("systemctl", "is-enabled", "linda-mongodb-kernel.service"), "enabled")


def open_logs() -> list[str]:
    """The log files that the server holds open."""
    found = []
    for handle in (server() / "fd").iterdir():
        try:
            target = os.readlink(handle)
        except FileNotFoundError:
            continue
        if target.startswith(str(LOG)):
            found.append(target)
    return found


def judge_rotation() -> None:
    """The old log is put aside once, the server goes on in a new one, and what it had written is all there."""
    expect("rotation every day", run("systemctl", "is-enabled", "logrotate.timer"), "enabled")
    invocation = run("systemctl", "show", "--property=InvocationID", "--value", "mongod.service")
    first_line = LOG.read_text().splitlines()[0]
    for _time in range(2):  # the first one puts aside, the second one compresses what was put aside
        before = LOG.stat().st_ino
        run("logrotate", "--force", "/etc/logrotate.d/linda-mongodb")
        deadline = time.monotonic() + 10
        while not LOG.stat().st_size or LOG.stat().st_ino == before:
            # A connection is a line in the log; a member that nobody talks to writes none for minutes.
            socket.create_connection(("127.0.0.1", 27017), timeout=5).close()
            if time.monotonic() > deadline:
                raise SystemExit("the server does not write to the new log")
            time.sleep(0.1)
        expect("open logs", open_logs(), [str(LOG)])
        time.sleep(3)  # Names hold the second, and the server passes over a signal that comes within a second of the one before.
    expect("mode", f"{LOG.stat().st_mode & 0o777:o} {LOG.owner()}", "600 mongodb")
    packed = max(LOG.parent.glob("mongod.log-*.gz"))
    with gzip.open(packed, "rt") as old:
        expect("the first line", old.readline().strip(), first_line)
    expect("no restart", run("systemctl", "show", "--property=InvocationID", "--value", "mongod.service"), invocation)


judge_limits()
judge_kernel()
judge_rotation()
