"""What a person sees: finished steps, and one live line for the steps that are running."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

QUIET_SECONDS = 2.0
"""A step that takes longer than this is announced while it runs."""


class Console:
    """Prints steps: with a live line on a terminal, as plain lines elsewhere. Colour follows NO_COLOR. Safe to use from threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._live and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._running: dict[int, _Step] = {}
        self._painter: threading.Thread | None = None

    def paint(self, text: str, code: str) -> str:
        """`text` in the colour of the ANSI `code` ("32", "1;31"), or as it is where colour is not wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def say(self, text: str = "") -> None:
        """Print a line of its own."""
        with self._lock:
            self._write(text)

    @contextmanager
    def step(self, label: str) -> Iterator["_Step"]:
        """Show `label` with the time that the block takes. The block may call `.note(text)` to tell what it is doing now."""
        step = _Step(self, label)
        with self._lock:
            self._running[id(step)] = step
            if self._painter is None:
                self._painter = threading.Thread(target=self._watch, daemon=True)
                self._painter.start()
        failed = True
        try:
            yield step
            failed = False
        finally:
            with self._lock:
                del self._running[id(step)]
                if failed:
                    self._write(f"  {self.paint('failed', '31')} {label} ({step.elapsed:.1f} s)")
                elif not step.silent or step.announced:
                    outcome = f": {step.outcome}" if step.outcome else ""
                    self._write(f"  {self.paint('ok', '32')} {label}{outcome} ({step.elapsed:.1f} s)")

    def _write(self, text: str) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
        self._stream.write(text + "\n")
        self._stream.flush()

    def _watch(self) -> None:
        while True:
            time.sleep(0.2)
            with self._lock:
                if self._live:
                    steps = list(self._running.values())
                    if steps:
                        text = " | ".join(f"{step.label} {step.elapsed:.0f} s{step.tail}" for step in steps)
                        width = os.get_terminal_size(self._stream.fileno()).columns if self._stream.isatty() else 80
                        self._stream.write("\r\x1b[K" + f"  .. {text}"[: max(20, width - 1)])
                        self._stream.flush()
                    continue
                for step in self._running.values():
                    if not step.announced and step.elapsed >= QUIET_SECONDS:
                        step.announced = True
                        step._said = step.elapsed
                        self._write(f"  .. {step.label}{step.tail}")


class _Step:
    """A running step. `silent`: say nothing at its end unless it took long. `outcome`: what to add to its last line."""

    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._begun = time.monotonic()
        self.label = label
        self.tail = ""
        self.outcome = ""
        self.silent = False
        self.announced = False
        self._said = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._begun

    def note(self, text: str) -> None:
        """Tell what the step is doing now: on the live line, or as a line of its own if the last one is some seconds old."""
        self.tail = f" ({text})"
        if not self._console._live and self.elapsed >= self._said + QUIET_SECONDS:
            self.announced = True
            self._said = self.elapsed
            self._console.say(f"  .. {self.label}: {text} ({self.elapsed:.0f} s)")
