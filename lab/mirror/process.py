"""Runs host tools for the mirror, and the one error that its callers see."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


class MirrorError(Exception):
    """Something about the mirror that a person can act on; the text is the whole message."""


def run(argv: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None, purpose: str) -> str:
    """Run `argv` without a shell and return its standard output.

    The program runs with the usual umask and locale, whatever the caller's are; `environment` is added to the current one. `purpose`
    ("sign the repository") begins the message of the MirrorError that is raised when the program is missing or ends with a code other
    than 0; the last lines that it printed follow.
    """
    try:
        # Files and not pipes: a daemon that the program leaves behind holds a pipe open, and reading it would not end.
        with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
            done = subprocess.run(  # noqa: S603 - no shell, and every argv is put together in this package from pinned recipes
                list(argv),
                cwd=cwd,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
                umask=0o022,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            output, errors = out.read(), err.read()
    except FileNotFoundError as error:
        raise MirrorError(f"Could not {purpose}: the program {error.filename!r} is not installed.") from error
    if done.returncode != 0:
        said = "\n".join((errors or output).strip().splitlines()[-15:])
        raise MirrorError(f"Could not {purpose}: {argv[0]} ended with code {done.returncode}.\n{said}")
    return output
