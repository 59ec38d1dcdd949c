"""What the machine that carries a lab looks like from outside the lab: to be compared before and after."""

import json
import re
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

_SYSCTL_NOISE = re.compile(
    # What the kernel counts while anything at all happens on the machine ...
    r"fs\.(dentry-state|inode-nr|inode-state|file-nr|aio-nr|quota\.\w+)"
    r"|kernel\.(ns_last_pid|pty\.nr|random\.(uuid|entropy_avail))"
    r"|net\.netfilter\.nf_conntrack_count"
    # ... or draws at random when a program first asks for TCP fast open.
    r"|net\.ipv4\.tcp_fastopen_key"
)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


@dataclass(frozen=True)
class Host:
    """One look at the machine. Every part is a set of lines, so that a difference says what it is about."""

    sysctl: frozenset[str]
    pages: frozenset[str]
    firewall: frozenset[str]
    mounts: frozenset[str]
    interfaces: frozenset[str]
    routes: frozenset[str]
    processes: frozenset[str]
    namespaces: frozenset[str]
    cgroups: frozenset[str]
    run: frozenset[str]
    loops: frozenset[str]

    def since(self, earlier: "Host") -> dict[str, list[str]]:
        """What is different, by part: lines with `+` are new, lines with `-` have gone. Empty if nothing is."""
        found = {}
        for field in fields(self):
            now, then = getattr(self, field.name), getattr(earlier, field.name)
            lines = [f"+ {line}" for line in sorted(now - then)] + [f"- {line}" for line in sorted(then - now)]
            if lines:
                found[field.name] = lines
        return found


def look(marks: tuple[str, ...]) -> Host:
    """Look at the machine.

    marks: texts of which one is in the environment, the command line or the control group of every process of the lab under test. Other
    processes come and go as they like; these and their namespaces count. Settings that the kernel itself keeps counting are left out.
    """
    processes, namespaces = _processes(marks)
    return Host(
        sysctl=frozenset(line for line in _lines("sysctl", "-a") if not _SYSCTL_NOISE.match(line)),
        pages=frozenset(f"{path}: {_text(path)}" for path in Path("/sys/kernel/mm/transparent_hugepage").rglob("*") if _is_setting(path)),
        firewall=frozenset(f"{number}: {line}" for number, line in enumerate(_lines("nft", "--stateless", "list", "ruleset"))),
        mounts=frozenset(_mount(line) for line in _text(Path("/proc/self/mountinfo")).splitlines()),
        interfaces=frozenset(f"{item['ifname']} {item['address']}" for item in json.loads("".join(_lines("ip", "-json", "link")))),
        routes=frozenset(_lines("ip", "route", "show", "table", "all")),
        processes=processes,
        namespaces=namespaces,
        cgroups=frozenset(
            str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir() and any(mark in str(path) for mark in marks)
        ),
        run=frozenset(str(path) for path in [*Path("/run").iterdir(), *Path("/run/netns").glob("*")]),
        loops=frozenset(f"{path.parts[3]} {_text(path)}" for path in Path("/sys/block").glob("loop*/loop/backing_file")),
    )


def _mount(line: str) -> str:
    """Where, of which type and from what: a line of mountinfo without numbers and options."""
    own, _, source = line.partition(" - ")
    return " ".join([own.split()[4], *source.split()[:2]])


def _is_setting(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o200)


def _processes(marks: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """The processes with a mark, zombies aside, as "number command line", and the namespaces that they are in."""
    found, namespaces = set(), set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = "\n".join(_text(directory / name) for name in ("environ", "cmdline", "cgroup"))
            if not any(mark in text for mark in marks) or _text(directory / "stat").rpartition(")")[2].split()[0] == "Z":
                continue
            spaces = {f"{kind} {(directory / 'ns' / kind).readlink()}" for kind in _NAMESPACES}
            found.add(f"{directory.name} {_text(directory / 'cmdline')[:120]}")
            namespaces |= spaces
        except OSError:
            continue
    return frozenset(found), frozenset(namespaces)


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError:
        return "unreadable"
