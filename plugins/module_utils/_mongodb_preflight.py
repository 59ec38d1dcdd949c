# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge whether a host is fit for a MongoDB server. ``judge`` is pure; ``Host`` reads what it judges, from /proc and /sys only.

Sizes are in bytes here and in GB (10^9 bytes) towards people, as disks are sold and clouds count.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GB = 1000**3
# The manual's "Production Notes": XFS is recommended for WiredTiger, ext4 works.
FILE_SYSTEMS = ("xfs", "ext4")
# A file system takes its own part of a disk, and memory is not all the system's: what is sold as 500 GB measures about 491.
TOLERANCE = 0.95
# adjtimex(2): the kernel's own word for a clock that nobody keeps.
_TIME_ERROR = 5


@dataclass(frozen=True)
class Host:
    """What was read of a host. ``None``: it could not be told.

    ``disk`` is the size of the file system that holds the data path or would hold it; ``spinning``: its disk rotates;
    ``container``: kernel, clock and disks belong to somebody else; ``kernel``: values by file.
    """

    memory: int
    disk: int
    file_system: str
    mount_point: str
    spinning: bool | None = None
    clock_kept: bool | None = None
    container: bool = False
    kernel: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class Wanted:
    """What is asked of a host; sizes in GB, 0 where nothing is asked. ``kernel``: values by file."""

    memory_gb: float = 0
    disk_gb: float = 0
    strict: bool = False
    kernel: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. ``refused``: the run stops for it."""

    subject: str
    text: str
    refused: bool

    def describe(self) -> dict[str, Any]:
        """Return the finding for a person and for a program."""
        return {"subject": self.subject, "text": self.text, "refused": self.refused}


def judge(host: Host, wanted: Wanted) -> list[Finding]:
    """Return what is not as it should be, the asked minima first."""
    found = []
    if wanted.memory_gb and host.memory < wanted.memory_gb * GB * TOLERANCE:
        found.append(
            Finding("memory", f"{_gb(host.memory)} of memory, {wanted.memory_gb:g} GB are asked (mongodb_minimum_memory_gb)", True)
        )
    if wanted.disk_gb and host.disk < wanted.disk_gb * GB * TOLERANCE:
        text = f"{_gb(host.disk)} of disk at {host.mount_point}, {wanted.disk_gb:g} GB are asked (mongodb_minimum_disk_gb)"
        found.append(Finding("disk", text, True))
    if host.file_system not in FILE_SYSTEMS:
        text = f"the data lies on {host.file_system} at {host.mount_point}; put it on xfs, or on ext4"
        found.append(Finding("file_system", text, wanted.strict))
    if host.spinning and not host.container:
        # Never a refusal: many virtual machines call every disk a rotating one.
        found.append(Finding("disk_kind", f"the kernel says that the disk at {host.mount_point} rotates; use one that does not", False))
    # A container cannot keep the clock, and cannot see who does.
    if host.clock_kept is False and not host.container:
        found.append(Finding("clock", "the clock is not kept by anybody; run a time service", wanted.strict))
    return found


def drifted(host: Host, wanted: Wanted) -> list[str]:
    """Return the files of kernel settings whose value differs; a setting that this kernel lacks cannot differ."""
    kernel = host.kernel or {}
    return [path for path, value in sorted((wanted.kernel or {}).items()) if kernel.get(path) not in (None, value)]


def verdict(host: Host, findings: Sequence[Finding]) -> str:
    """Return one sentence about the host."""
    if any(finding.refused for finding in findings):
        return "not fit for MongoDB: " + "; ".join(finding.text for finding in findings) + "."
    seen = f"fit for MongoDB: {_gb(host.memory)} of memory, {_gb(host.disk)} of {host.file_system} at {host.mount_point}"
    return seen + ("; but " + "; ".join(finding.text for finding in findings) if findings else "") + "."


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB"


# --- reading --------------------------------------------------------------------------------------------------------------


def read_host(data_path: str, kernel: Sequence[str]) -> Host:
    """Read everything about this host; ``kernel`` names the files of kernel settings."""
    place = _existing(data_path)
    file_system, mount_point, device = mount_of(place, _text("/proc/self/mountinfo") or "")
    space = os.statvfs(place)
    return Host(
        memory=memory_of(_text("/proc/meminfo") or ""),
        disk=space.f_blocks * space.f_frsize,
        file_system=file_system,
        mount_point=mount_point,
        spinning=_spinning(device),
        clock_kept=_clock_kept(),
        container=os.path.exists("/run/systemd/container"),
        kernel={path: selected(_text(path)) for path in kernel},
    )


def memory_of(meminfo: str) -> int:
    """Return the memory that /proc/meminfo tells, in bytes; 0 when it tells none."""
    found = re.search(r"^MemTotal:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def mount_of(path: str, mountinfo: str) -> tuple[str, str, str]:
    """Return (file system, mount point, major:minor) of what holds a path, from the text of /proc/self/mountinfo (proc(5))."""
    best = ("unknown", "/", "")
    for line in mountinfo.splitlines():
        before, _separator, after = line.partition(" - ")
        fields = before.split()
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        # Of two on one point the later one is what is seen.
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[1]):
            best = (after.split()[0], point, fields[2])
    return best


def selected(text: str | None) -> str | None:
    """Return a setting's value: the word in brackets where the kernel lists all, else the text."""
    if text is None:
        return None
    found = re.search(r"\[([^\]]+)\]", text)
    return found[1] if found else text.strip()


def _existing(path: str) -> str:
    """The real path of the nearest directory that is there: before the first start the data path is not."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _spinning(device: str) -> bool | None:
    """Whether a block device rotates; a partition's disk is one directory up."""
    for name in ("queue/rotational", "../queue/rotational"):
        said = _text(f"/sys/dev/block/{device}/{name}")
        if said is not None:
            return said.strip() == "1"
    return None


class _Timex(ctypes.Structure):
    """The beginning of struct timex is enough: modes = 0 only reads."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 252))


def _clock_kept() -> bool | None:
    state = int(ctypes.CDLL(None).adjtimex(ctypes.byref(_Timex(0))))
    return None if state < 0 else state != _TIME_ERROR
