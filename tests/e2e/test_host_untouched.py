"""The lab leaves its host as it was, and goes on from any wreck of itself.

The labs of this file live in a podman store of their own (LINDA_LAB_STORE): they begin without images in podman, as on a machine where
only the downloads are cached, and everything that they leave behind is theirs.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.host import Host, look

ROOT = Path(__file__).resolve().parents[2]
WITNESS = "linda_lab_witness"
HOSTS = ("edge1", "mongo1")


@dataclass(frozen=True)
class Bench:
    """A lab under test: its name, its store, and the environment that makes it that."""

    name: str
    store: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LINDA_LAB_STORE": str(self.store), "NO_COLOR": "1"}

    @property
    def run_directory(self) -> Path:
        """Where the lab keeps what lives no longer than the machine's uptime."""
        code = "from lab import enclosure; print(enclosure.RUN)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    def argv(self, verb: str, *rest: str) -> list[str]:
        return [sys.executable, "-m", "lab", verb, "--name", self.name, *rest]

    def cli(self, verb: str, *rest: str) -> str:
        done = subprocess.run(self.argv(verb, *rest), cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"lab {verb} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, verb: str, *rest: str, **environment: str) -> "subprocess.Popen[str]":
        """A command of the lab that runs beside the test, in a session of its own; its output is one stream."""
        return subprocess.Popen(
            self.argv(verb, *rest),
            cwd=ROOT,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def look(self) -> Host:
        return look((str(self.store), self.run_directory.name, str(ROOT / ".lab" / self.name)))

    def shell(self, host: str, script: str) -> str:
        return self.cli("exec", host, "--", "sh", "-c", script).strip()


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    """Podman's store for the labs of this file, empty at first."""
    # Not below pytest's directory: what a killed test run leaves must be found again by the next one.
    path = Path("/var/tmp/linda-lab-e2e")
    Bench("untouched", path).cli("down", "--purge")
    shutil.rmtree(path, ignore_errors=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def bench(store: Path) -> Iterator[Bench]:
    """A lab of its own name, gone at the end whatever happened; and firewall rules that are not the lab's."""
    found = Bench("untouched", store)
    found.cli("down", "--purge")
    subprocess.run(["nft", "add", "table", "inet", WITNESS], check=True)
    subprocess.run(["nft", "add", "chain", "inet", WITNESS, "input", "{ type filter hook input priority 0; }"], check=True)
    subprocess.run(["nft", "add", "rule", "inet", WITNESS, "input", "ip", "saddr", "192.0.2.77", "drop"], check=True)
    try:
        yield found
    finally:
        found.cli("down", "--purge")
        subprocess.run(["nft", "delete", "table", "inet", WITNESS], check=True)


def test_the_host_is_the_same_before_up_and_after_down(bench: Bench) -> None:
    before = bench.look()
    assert any(WITNESS in line for line in before.firewall), "the firewall rules of others are not seen"
    bench.cli("up", *HOSTS)
    during = bench.look().since(before)
    assert {"interfaces", "processes", "namespaces"} <= set(during), "the look does not see a running lab"
    assert not [line for line in during.get("sysctl", []) if not re.match(r"[+-] net\.\w+\.\w+\.(lab[0-9a-f]{8}|veth\d+)\.", line)]
    assert {key: during[key] for key in ("firewall", "pages") if key in during} == {}

    # Machines may write every kernel setting, and read back what they wrote; the host never hears of it.
    for host in HOSTS:
        script = "; ".join(
            f"echo {value} >/proc/sys/{key}; cat /proc/sys/{key}"
            for key, value in [("kernel/panic", 77), ("vm/swappiness", 7), ("fs/protected_hardlinks", 0), ("user/max_user_namespaces", 123)]
        )
        assert bench.shell(host, script).split() == ["77", "7", "0", "123"]
        assert (
            bench.shell(host, "echo never >/sys/kernel/mm/transparent_hugepage/enabled; cat /sys/kernel/mm/transparent_hugepage/enabled")
            == "never"
        )
        assert bench.shell(host, "echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward") == "1", (
            "net.* is the machine's own"
        )
        # With SSH, as Ansible comes: `lab exec` is podman's doing and has all capabilities.
        assert "Operation not permitted" in bench.start("ssh", host, "sudo date --set=@1").communicate()[0]

    # What a machine has mounted through a loop device (an encrypted volume, say) is let go of when the machine is killed.
    bench.shell("mongo1", "truncate -s 16M /srv/x.img && mkfs.ext4 -q -F /srv/x.img && mount -o loop /srv/x.img /mnt")
    assert any("/srv/x.img" in line for line in bench.look().since(before)["loops"])

    bench.cli("down")
    assert bench.look().since(before) == {}


def test_machines_are_machines(bench: Bench) -> None:
    bench.cli("up", *HOSTS)
    seen: dict[str, set[str]] = {"machine-id": set(), "host key": set()}
    for host in HOSTS:
        assert bench.shell(host, "cat /proc/1/comm; hostname; hostname --fqdn").split() == ["systemd", host, f"{host}.linda.test"]
        assert bench.shell(host, "systemctl --failed --plain --no-legend") == ""
        passwords = dict(line.split(":")[:2] for line in bench.shell(host, "cat /etc/shadow").splitlines())
        assert all(re.fullmatch(r"[!*]+", password) for password in passwords.values()), "an account has a password"
        assert bench.shell(host, "findmnt --noheadings --output OPTIONS /etc/hosts").split(",")[0] == "ro"
        seen["machine-id"].add(bench.shell(host, "cat /etc/machine-id"))
        seen["host key"].add(bench.shell(host, "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub"))
    assert all(len(values) == len(HOSTS) for values in seen.values()), "two machines share an identity"
    known = (ROOT / ".lab" / bench.name / "known_hosts").read_text(encoding="utf-8")
    assert all(key in known for key in seen["host key"])
    # The network has no way out: nothing is forwarded, whatever the host's own setting is, and names of elsewhere fail at once.
    route = bench.shell("edge1", "ip route get 192.0.2.1")
    gateway = re.search(r"via (\S+)", route)
    assert gateway
    bridge = re.search(
        rf"{gateway[1]}/24 .* (lab[0-9a-f]+)$",
        subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout,
        re.MULTILINE,
    )
    assert bridge
    assert Path(f"/proc/sys/net/ipv4/conf/{bridge[1]}/forwarding").read_text(encoding="ascii").strip() == "0"
    began = time.monotonic()
    assert bench.shell("edge1", "getent hosts deb.example.org || echo none") == "none"
    assert time.monotonic() - began < 5


def test_going_on_after_sigkill_at_any_moment(bench: Bench) -> None:
    """`lab up` is killed, alone and with its children, at moments spread over its whole course; each start goes on from the last wreck."""
    before = bench.look()
    for attempt, after in enumerate([0.4, 0.8, 1.2, 1.8, 2.5, 3.2, 4.0, 5.0, 6.5, 8.0]):
        process = bench.start("up", *HOSTS)
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            if attempt % 2:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
        if attempt == 6:
            _end_every_process(bench)
    bench.cli("up", *HOSTS)
    bench.cli("status")
    for host in HOSTS:
        assert bench.shell(host, "systemctl is-active ssh") == "active"
    bench.cli("down")
    assert bench.look().since(before) == {}


def test_going_on_after_everything_ended_at_once(bench: Bench) -> None:
    """As after a reboot: no process is left, but files, and podman's belief that machines run. With the namespace and without."""
    before = bench.look()
    bench.cli("up", *HOSTS)
    _end_every_process(bench)
    bench.cli("up", *HOSTS)
    _end_every_process(bench)
    for mount in (bench.run_directory / "namespace", bench.run_directory):
        subprocess.run(["umount", "--lazy", str(mount)], check=True)
    bench.cli("up", *HOSTS)
    assert bench.shell("edge1", "cat /proc/1/comm") == "systemd"
    _end_every_process(bench)
    for mount in (bench.run_directory / "namespace", bench.run_directory):
        subprocess.run(["umount", "--lazy", str(mount)], check=True)
    shutil.rmtree(bench.run_directory)
    bench.cli("down")
    assert bench.look().since(before) == {}


def test_a_machine_that_ends_while_it_starts_is_started_again(bench: Bench) -> None:
    bench.cli("up", "edge1")
    bench.cli("down")
    process = bench.start("up", "edge1")
    deadline = time.monotonic() + 60
    while not _end_first_process(bench, "edge1"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert bench.shell("edge1", "systemctl is-active ssh") == "active"


def test_an_interrupted_image_build_leaves_nothing_running(bench: Bench, tmp_path: Path) -> None:
    fleet = yaml.safe_load((ROOT / "lab" / "fleet.yml").read_text(encoding="utf-8"))
    fleet["images"]["debian13"]["packages"] = [*fleet["images"]["debian13"]["packages"], "less"]
    recipe = tmp_path / "fleet.yml"
    recipe.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    before = bench.look()
    process = bench.start("up", "edge1", "--fleet", str(recipe), XDG_CACHE_HOME=str(tmp_path))
    try:
        deadline = time.monotonic() + 60
        while not _processes_with(f"{bench.store}/build", "mmdebstrap"):
            assert process.poll() is None, "lab up ended before it built an image"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(3)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while _processes_with("mmdebstrap") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not list((tmp_path / "linda-lab" / "images").glob("*.tar")), "half an image has a name"
    bench.cli("down")
    assert bench.look().since(before) == {}


def test_two_labs_live_side_by_side(bench: Bench) -> None:
    other = Bench("untouched2", bench.store)
    try:
        bench.cli("up", "edge1")
        other.cli("up", "edge1")
        addresses = {lab.name: re.findall(r"198\.1[89]\.\d+\.0/24", lab.cli("status"))[0] for lab in (bench, other)}
        assert len(set(addresses.values())) == 2
        other.cli("down", "--purge")
        assert bench.shell("edge1", "systemctl is-active ssh") == "active"
    finally:
        other.cli("down", "--purge")


def test_debian_packages_are_downloaded_once(bench: Bench) -> None:
    """The mirror asks Debian's archive for what it has never seen; not for a second machine, and not after `lab down` and `lab up`."""
    install = "apt-get -qq update && apt-get -qq --yes install --no-install-recommends less >/dev/null 2>&1 && less --version | head -1"
    bench.cli("up", "edge1", "edge2")
    assert bench.shell("edge1", install).startswith("less")
    first = bench.cli("logs", "uplink").splitlines()
    assert bench.shell("edge2", install).startswith("less")
    assert bench.cli("logs", "uplink").splitlines() == first
    bench.cli("down")
    bench.cli("up", "edge1")
    assert bench.shell("edge1", install).startswith("less")
    assert bench.cli("logs", "uplink") == ""
    assert '"GET /debian/pool/' in bench.cli("logs", "mirror"), "the packages did not come from the mirror"


def _end_every_process(bench: Bench) -> None:
    """SIGKILL for all that belongs to the lab under test: machines, their keepers, and what podman has running."""
    for _ in range(3):
        for pid in _processes_with(str(bench.store)):
            for child in subprocess.run(["pgrep", "--parent", str(pid)], capture_output=True, text=True, check=False).stdout.split():
                os.kill(int(child), signal.SIGKILL)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.3)


def _end_first_process(bench: Bench, host: str) -> bool:
    """SIGKILL for the first process of a machine, if it runs by now: the shell that prepares it, or systemd."""
    keepers = ",".join(str(pid) for pid in _processes_with("conmon", str(bench.store), f"{bench.name}-{host}"))
    argv = ["pkill", "--signal", "KILL", "--exact", "--parent", keepers, "sh|systemd"]
    return bool(keepers) and subprocess.run(argv, check=False).returncode == 0


def _processes_with(*words: str) -> list[int]:
    """Running processes whose command line holds all the words."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if line and all(word in line for word in words) and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return found
