"""What the tests know about a running application."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from lab.state import cache_directory

APP = Path(__file__).resolve().parent.parent
CACHE = cache_directory()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running application: its process, address, log file, and a client for it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    http: httpx.AsyncClient

    async def ended(self, seconds: float) -> int:
        """Return code of the process, which must end within that time."""
        return await asyncio.to_thread(self.process.wait, seconds)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


Start = Callable[..., Awaitable[Server]]


def environment(**settings: str) -> dict[str, str]:
    """The test's environment with these LINDA_API_ settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LINDA_API_")}
    return {**kept, "PYTHONPATH": str(APP), **{f"LINDA_API_{name}": value for name, value in settings.items()}}
