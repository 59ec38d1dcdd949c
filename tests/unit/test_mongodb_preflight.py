"""Whether a host is fit for MongoDB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.linda.ops.plugins.module_utils import _mongodb_preflight as preflight
from ansible_collections.linda.ops.plugins.module_utils._mongodb_preflight import GB, Host, Wanted
from ansible_collections.linda.ops.plugins.modules.mongodb_preflight import newer
from hypothesis import given
from hypothesis import strategies as st

GOOD = Host(64 * GB, 1000 * GB, "xfs", "/var/lib/mongodb", spinning=False, clock_kept=True, kernel={"/proc/sys/vm/swappiness": "1"})
ASKED = Wanted(32, 500, kernel={"/proc/sys/vm/swappiness": "1"})
MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
31 22 253:0 / /var/lib/mongodb rw,relatime shared:6 - xfs /dev/mapper/data rw
32 22 8:17 / /srv/a\040b rw,relatime - btrfs /dev/sdb1 rw
33 31 8:33 / /var/lib/mongodb rw,relatime - ext4 /dev/sdc1 rw
"""


def test_a_good_host_is_fit() -> None:
    assert preflight.judge(GOOD, ASKED) == []
    assert preflight.verdict(GOOD, []) == "fit for MongoDB: 64.0 GB of memory, 1000.0 GB of xfs at /var/lib/mongodb."
    assert preflight.drifted(GOOD, ASKED) == []


@pytest.mark.parametrize(
    ("host", "refused", "says"),
    [
        (replace(GOOD, memory=16 * GB), True, "16.0 GB of memory, 32 GB are asked (mongodb_minimum_memory_gb)"),
        (replace(GOOD, disk=100 * GB), True, "100.0 GB of disk at /var/lib/mongodb, 500 GB are asked (mongodb_minimum_disk_gb)"),
        (replace(GOOD, file_system="overlay"), False, "the data lies on overlay"),
        (replace(GOOD, spinning=True), False, "rotates"),
        (replace(GOOD, clock_kept=False), False, "run a time service"),
    ],
)
def test_each_lack_is_told(host: Host, refused: bool, says: str) -> None:
    (finding,) = preflight.judge(host, ASKED)
    assert (finding.refused, says in finding.text) == (refused, True)
    assert says in preflight.verdict(host, [finding])
    assert preflight.verdict(host, [finding]).startswith("not fit" if refused else "fit")
    (strict,) = preflight.judge(host, replace(ASKED, strict=True))
    assert strict.refused or strict.subject == "disk_kind"


def test_what_is_sold_as_32_and_500_gb_is_enough() -> None:
    assert preflight.judge(replace(GOOD, memory=32_655_000 * 1024, disk=491 * GB), ASKED) == []


def test_a_container_is_not_judged_by_what_is_its_hosts() -> None:
    assert preflight.judge(replace(GOOD, container=True, clock_kept=False, spinning=True), ASKED) == []


@given(st.integers(0, 10**13), st.integers(0, 10**15), st.floats(0, 10**4), st.floats(0, 10**5))
def test_more_is_never_worse(memory: int, disk: int, memory_gb: float, disk_gb: float) -> None:
    wanted = Wanted(memory_gb, disk_gb)
    small, large = replace(GOOD, memory=memory, disk=disk), replace(GOOD, memory=memory * 2, disk=disk * 2)
    subjects = {finding.subject for finding in preflight.judge(small, wanted)}
    assert {finding.subject for finding in preflight.judge(large, wanted)} <= subjects


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/lib/mongodb", ("ext4", "/var/lib/mongodb", "8:33")),
        ("/var/lib/mongodb/journal", ("ext4", "/var/lib/mongodb", "8:33")),
        ("/var/lib/mongodb-old", ("ext4", "/", "8:1")),
        ("/srv/a b/data", ("btrfs", "/srv/a b", "8:17")),
    ],
)
def test_the_mount_that_is_seen_counts(path: str, found: tuple[str, str, str]) -> None:
    assert preflight.mount_of(path, MOUNTS) == found


def test_kernel_settings_are_read_as_the_kernel_writes_them() -> None:
    assert preflight.selected("always madvise [never]\n") == "never"
    assert preflight.selected("60\n") == "60"
    paths = {"/proc/sys/vm/swappiness": "60", "/sys/kernel/mm/transparent_hugepage/enabled": None}
    wanted = Wanted(kernel={"/proc/sys/vm/swappiness": "1", "/sys/kernel/mm/transparent_hugepage/enabled": "never"})
    assert preflight.drifted(replace(GOOD, kernel=paths), wanted) == ["/proc/sys/vm/swappiness"], "what a kernel lacks cannot differ"


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    host = preflight.read_host(str(tmp_path / "not" / "there"), ["/proc/sys/vm/swappiness"])
    assert host.memory > GB / 10
    assert host.disk > 0
    assert str(tmp_path).startswith(host.mount_point)
    assert host.kernel is not None
    assert str(host.kernel["/proc/sys/vm/swappiness"]).isdigit()


def test_files_newer_than_the_process(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    moment = file.stat().st_ctime
    paths = [str(file), str(tmp_path / "absent")]
    assert newer(paths, moment - 1) == [str(file)]
    assert newer(paths, moment + 1) == []
    assert newer(paths, None) == [], "a server that does not run has read nothing"
