"""What the machine that carries a lab looks like from outside the lab: to be compared before and after."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SYSCTL_NOISE = re.compile(
    # What the kernel counts while anything at all happens on the machine ...
    r"fs\.(dentry-state|inode-nr|inode-state|file-nr|aio-nr|quota\.\w+)"
    r"|kernel\.(ns_last_pid|pty\.nr|random\.(uuid|entropy_avail))"
    r"|net\.netfilter\.nf_conntrack_count"
    # ... or draws at random when a program first asks for TCP fast open.
    r"|net\.ipv4\.tcp_fastopen_key"
)
_OF_INTERFACE = re.compile(r"net\.(?:ipv4|ipv6|mpls)\.(?:conf|neigh)\.(?P<interface>[^.]+(?:\.\d+)?)\.")
_OTHER_LABS = re.compile(r"/run/linda-lab(-[0-9a-f]{8})?(/|$)")


@dataclass(frozen=True)
class Host:
    """One look at the machine. Every part is a set of lines, so that a difference says what it is about."""

    sysctl: frozenset[str]
    firewall: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    interfaces: frozenset[str]
    processes: frozenset[str]
    cgroups: frozenset[str]
    run: frozenset[str]

    def since(self, earlier: "Host") -> dict[str, list[str]]:
        """What is different, by part: lines with `+` are new, lines with `-` have gone. Empty if nothing is."""
        found = {}
        for part in self.__dataclass_fields__:
            now, then = getattr(self, part), getattr(earlier, part)
            lines = [f"+ {line}" for line in sorted(now - then)] + [f"- {line}" for line in sorted(then - now)]
            if lines:
                found[part] = lines
        return found


def look(others: frozenset[int] = frozenset()) -> Host:
    """Look at the machine. `others`: processes of other labs, and of everything else in containers, that run beside the test.

    Left out by rule: kernel threads and zombies; the test's own processes; on a developer's machine also other labs: their processes,
    the namespaces that only those hold, bridges that carry an address of 198.18.0.0/15, and the settings and members of such bridges.
    The lab under test has a store of its own (LINDA_LAB_STORE), which none of these exceptions covers.
    """
    bridges = _bridges_of_other_labs(others)
    interfaces = {line for line in _interfaces() if line.split()[0] not in bridges}
    names = {line.split()[0] for line in interfaces} | {"all", "default"}
    return Host(
        sysctl=frozenset(line for line in _output("sysctl", "-a").splitlines() if _counts(line, names)),
        firewall=frozenset(_numbered(_output("nft", "--stateless", "list", "ruleset"))),
        mounts=frozenset(line for line in _mounts() if not _OTHER_LABS.search(line.split()[0]) or _own_run(line)),
        namespaces=frozenset(_namespaces(others)),
        interfaces=frozenset(interfaces),
        processes=frozenset(_processes(others)),
        cgroups=frozenset(line for line in _cgroups() if not re.search(r"/linda-lab(/|$)|/libpod_parent(/|$)", line)),
        run=frozenset(item.name for item in Path("/run").iterdir() if item.name != "linda-lab"),
    )


def own_run() -> Path:
    """The run directory of the lab under test, as lab.enclosure derives it from LINDA_LAB_STORE."""
    done = subprocess.run(["python3", "-c", "from lab import enclosure; print(enclosure.RUN)"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
