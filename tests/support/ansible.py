"""Runs ansible-playbook as a person would, and reads what it did."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
CALLBACKS = ROOT / "tests" / "support" / "callbacks"


def kill_with_workers(run: int) -> None:
    """SIGKILL a run and all that it has started, as a controller dies that loses its power.

    Each worker of ansible-core is a session of its own, which a signal to the run's process group does not reach; it would wait for ever.
    """
    family: list[int] = []
    found = [run]
    while found:  # until a look at all that were stopped finds no more: whoever is stopped starts nobody
        for member in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGSTOP)
        family += found
        found = [child for child, parent in _parents().items() if parent in family and child not in family]
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """The parent of each process there is."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    return parents


@dataclass(frozen=True)
class Run:
    """A finished ansible-playbook."""

    returncode: int
    output: str
    seconds: float
    cpu_seconds: float
    """User and system time of the controller's processes."""
    stats: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Ansible's recap by host: ok, changed, failures, unreachable, ..."""
    module_runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Remote module runs by (host, role); host as Ansible addressed it."""

    @property
    def changed(self) -> dict[str, int]:
        """Hosts with changes, and how many."""
        return {host: row["changed"] for host, row in self.stats.items() if row["changed"]}


@dataclass(frozen=True)
class Lab:
    """The inventory of a lab, and how to run a playbook on it."""

    name: str

    @property
    def state(self) -> Path:
        """Where the lab keeps its keys and secrets."""
        return ROOT / ".lab" / self.name

    @property
    def inventory(self) -> Path:
        """The inventory directory that `lab up` wrote."""
        return ROOT / "inventories" / "lab" if self.name == "linda" else self.state / "inventory"

    def command(self, playbook: str | Path, *arguments: str) -> list[str]:
        """The command line of a person."""
        vault = f"--vault-password-file={self.state / 'vault_password'}"
        return [str(PLAYBOOK), f"--inventory={self.inventory}", vault, str(playbook), *arguments]

    def run(self, playbook: str | Path, *arguments: str, environment: Mapping[str, str] | None = None, root: Path = ROOT) -> Run:
        """Run a playbook to its end; `root` is the checkout whose playbooks and ansible.cfg are used."""
        with tempfile.TemporaryDirectory() as scratch:
            counts, stats = Path(scratch, "counts"), Path(scratch, "stats.json")
            counts.touch()
            env = self.environment(root) | {
                "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
                "ANSIBLE_CALLBACKS_ENABLED": "count_modules,save_stats",
                "LINDA_OPS_COUNT_FILE": str(counts),
                "LINDA_OPS_STATS_FILE": str(stats),
            }
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(
                self.command(playbook, *arguments),
                cwd=root,
                env=env | dict(environment or {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            rows = (line.split("\t")[:2] for line in counts.read_text().splitlines())
            return Run(
                returncode=done.returncode,
                output=done.stdout,
                seconds=time.monotonic() - started,
                cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                stats=json.loads(stats.read_text()) if stats.exists() else {},
                module_runs=Counter((host, role) for host, role in rows),
            )

    def run_and_kill(self, playbook: str | Path, phases: Sequence[str], delay: float, *arguments: str) -> int | None:
        """Start a playbook and SIGKILL it with all its workers; its exit code if it ended before.

        The moment is `delay` seconds after the display has named each of `phases`, in that order.
        """
        process = subprocess.Popen(
            self.command(playbook, *arguments),
            cwd=ROOT,
            env=self.environment(ROOT) | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        awaited, lines = list(phases), []
        for line in process.stdout:
            lines.append(line)
            if awaited and awaited[0] in line:
                awaited.pop(0)
            if not awaited:
                break
        # What it goes on to print is read, so that it never waits for a reader.
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            ended = process.wait(timeout=delay)
            reader.join()
            if ended != 0:
                print("".join(lines))
            return ended
        except subprocess.TimeoutExpired:
            kill_with_workers(process.pid)
            process.wait()
            return None
        finally:
            reader.join()
            process.stdout.close()

    def environment(self, root: Path) -> dict[str, str]:
        """The caller's environment with the checkout's configuration."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(root / ".collections"),
            "NO_COLOR": "1",
        }

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command `lab` on this lab: `cli("up")`, `cli("exec", "mongo1", "--", "true")`."""
        verb, *rest = arguments
        command = [sys.executable, "-m", "lab", verb, "--name", self.name, *rest]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"lab {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def execute(self, host: str, *argv: str, check: bool = True) -> str:
        """Standard output of a command run on a host as root."""
        return self.cli("exec", host, "--", *argv, check=check).stdout


def over_budget(runs: Mapping[tuple[str, str], int], budget: int) -> Sequence[str]:
    """The hosts and roles that took more remote module runs than allowed, for a message."""
    return [f"{role} on {host}: {count}" for (host, role), count in sorted(runs.items()) if role != "-" and count > budget]
