"""`make bench`: what the foundation costs, as figures a person can compare. Never an assertion.

python -m tests.bench            warm start of a fleet, site.yml twice, module runs, controller CPU
python -m tests.bench --cold     the same, from an empty cache (builds images and packages anew; some minutes more)
python -m tests.bench --only mongodb   indexes alone: budgets, and side by side with community.mongodb
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict

import yaml

from tests.bench import mongodb
from tests.support.ansible import ROOT, Lab, Run

BUDGET = 6
LAB = Lab("bench")


def progress(text: str) -> None:
    """One line at once, so that a long run is seen to live."""
    print(f"bench: {text}", flush=True)


def timed_up() -> float:
    """Seconds of `lab up`."""
    started = time.monotonic()
    LAB.cli("up")
    return time.monotonic() - started


def row(label: str, value: str, note: str = "") -> None:
    """One line of the result."""
    print(f"  {label:<44} {value:>12}  {note}".rstrip())


def show_runs(run: Run, addresses: dict[str, str]) -> None:
    """Remote module runs by role: the most on any host, and the sum."""
    by_role: dict[str, Counter[str]] = defaultdict(Counter)
    for (host, role), count in run.module_runs.items():
        by_role[role][addresses.get(host, host)] += count
    for role, hosts in sorted(by_role.items()):
        worst, most = hosts.most_common(1)[0]
        label = "outside roles" if role == "-" else role.removeprefix("linda.ops.")
        budget = "" if role == "-" else f"budget {BUDGET} a host"
        row(f"remote module runs, {label}", str(sum(hosts.values())), f"at most {most} on a host ({worst}); {budget}".rstrip("; "))


def ended_well(run: Run, what: str) -> Run:
    """The run, or the end of the bench with its output."""
    if run.returncode:
        print(run.output)
        sys.exit(f"bench: {what} ended with {run.returncode}")
    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description="Print times and remote module runs of the foundation.")
    parser.add_argument("--cold", action="store_true", help="start from an empty cache, too")
    parser.add_argument("--only", choices=["fleet", "mongodb"], help="measure one part")
    chosen = parser.parse_args()
    if chosen.only != "mongodb":
        fleet(from_empty_cache=chosen.cold)
    if chosen.only != "fleet":
        progress("indexes on a mongod of its own")
        mongodb.measure(row)


def fleet(*, from_empty_cache: bool) -> None:
    """Start the fleet and run site.yml on it."""
    cold = None
    LAB.cli("down", "--purge", check=False)
    try:
        if from_empty_cache:
            progress("lab up with an empty cache")
            with tempfile.TemporaryDirectory(dir=ROOT / ".lab") as cache:
                os.environ["XDG_CACHE_HOME"] = cache
                cold = timed_up()
                LAB.cli("down", "--purge")
                del os.environ["XDG_CACHE_HOME"]
        progress("lab up with a warm cache")
        warm = timed_up()
        machines = yaml.safe_load((LAB.inventory / "hosts.yml").read_text())["all"]["hosts"]
        progress("site.yml on bare machines")
        first = ended_well(LAB.run("site.yml"), "site.yml")
        progress("site.yml on converged machines, three times")
        again = [ended_well(LAB.run("site.yml"), "site.yml") for _ in range(3)]
    finally:
        LAB.cli("down", "--purge", check=False)

    hosts = len(again[0].stats) - ("localhost" in again[0].stats)
    median = statistics.median(run.seconds for run in again)
    print(f"\n{hosts} hosts, {os.cpu_count()} cores")
    if cold is not None:
        row("lab up, empty cache", f"{cold:.0f} s")
    row("lab up, warm cache", f"{warm:.0f} s")
    row("site.yml, bare machines", f"{first.seconds:.0f} s")
    row("site.yml, converged (median of 3)", f"{median:.0f} s", f"{median / first.seconds:.2f} of the first run")
    row("controller CPU, converged", f"{statistics.median(run.cpu_seconds for run in again) / hosts:.1f} s/host")
    row("changed on converged hosts", str(sum(sum(run.changed.values()) for run in again)))
    show_runs(again[0], {machine["ansible_host"]: name for name, machine in machines.items()})


if __name__ == "__main__":
    main()
