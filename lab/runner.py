"""Runs programs on the machine that carries the lab, as the caller or as root."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import LabError


@dataclass(frozen=True)
class Done:
    """A finished program: exit code, standard output and standard error as text."""

    code: int
    out: str
    err: str


class Runner:
    """Runs programs. `root_prefix` is what makes a program run as root: nothing for root itself, sudo for others."""

    def __init__(self) -> None:
        self.is_root = os.geteuid() == 0
        self.root_prefix: tuple[str, ...] = () if self.is_root else ("sudo",)

    def require_root(self) -> None:
        """Refuse to go on where neither root nor sudo is to be had; ask for the password of sudo at once, not in the middle of the work."""
        if self.is_root:
            return
        if shutil.which("sudo") is None:
            raise LabError(
                "The lab starts containers with addresses of their own, which takes root, and this is neither root nor is there sudo.",
                "Run the command as root, or install sudo and give this account the right to use it.",
            )
        if self.run(["sudo", "-n", "true"], check=False).code != 0:
            asked = subprocess.run(["sudo", "-v"], check=False)  # noqa: S607 - the sudo of the caller's path is the one to ask
            if asked.returncode != 0:
                raise LabError(
                    "sudo did not grant root, which the lab takes to start containers.",
                    "Run the command as root or with an account that may use sudo.",
                )

    def argv(self, argv: Sequence[str | Path], *, root: bool) -> list[str]:
        """`argv` as it has to be started to run as the caller or as root."""
        return [*(self.root_prefix if root else ()), *(str(word) for word in argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        root: bool = False,
        text: str | None = None,
        check: bool = True,
        purpose: str = "",
        stdout: IO[bytes] | None = None,
        timeout: float | None = None,
    ) -> Done:
        """Run a program without a shell.

        text: its standard input; stdout: a file for its standard output; timeout: seconds. With `check`, an exit code other than 0 raises
        LabError that begins with `purpose` ("start edge1"). A missing program and a timeout always do.
        """
        command = self.argv(argv, root=root)
        try:
            done = subprocess.run(  # noqa: S603 - no shell, and every argv is put together in this package
                command,
                input=text.encode() if text is not None else None,
                stdin=subprocess.DEVNULL if text is None else None,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
                timeout=timeout,
            )
        except FileNotFoundError as error:
            raise LabError(
                f"Could not {purpose or 'go on'}: the program {error.filename} is not installed.",
                "Install it, or run `lab up`, which does.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise LabError(f"Could not {purpose or 'go on'}: {command[0]} did not end within {timeout:.0f} s.") from error
        out = (done.stdout or b"").decode(errors="replace")
        err = done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise LabError(f"Could not {purpose or 'run ' + command[0]}: it ended with code {done.returncode}.", details=err or out)
        return Done(done.returncode, out, err)
