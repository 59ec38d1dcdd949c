"""Runs host tools for the mirror, and the one error that its callers see."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class MirrorError(Exception):
    """Something about the mirror that a person can act on; the text is the whole message."""


def run(argv: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None, purpose: str) -> str:
    """Run `argv` without a shell and return its standard output.

    `environment` is added to the current one. `purpose` ("sign the repository") begins the message of the MirrorError that is raised
    when the program is missing or ends with a code other than 0; the last lines that it printed follow.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and every argv is put together in this package from pinned recipes
            list(argv),
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise MirrorError(f"Could not {purpose}: the program {error.filename!r} is not installed.") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise MirrorError(f"Could not {purpose}: {argv[0]} ended with code {done.returncode}.\n{said}")
    return done.stdout
