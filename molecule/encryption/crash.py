"""Cut the power of a machine of a lab, as seen by that machine: crash.py LAB HOST."""

from __future__ import annotations

import os
import signal
import sys
import time

from lab.console import Console
from lab.lifecycle import Lab


def main() -> None:
    """Kill its first process, and return when it is gone."""
    name, host = sys.argv[1:]
    lab = Lab(name, Console())
    os.kill(lab.container_of(host).pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(container.alive for container in lab.containers().values() if container.name == f"{name}-{host}"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{host} lives on")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
