# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release of a Python package as a directory: a virtual environment that is either whole or not there.

A virtual environment cannot be moved, so it is built where it will stay. What makes it a release is a record that is written last:

- `release.json`: the record. With it the directory is a finished release, and nothing in it is ever changed again.
- `building`: written first. With it and without the record the directory is what a build left that did not come to its end.

A directory with other content than that was not made here and is left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import urllib.error
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from ansible.module_utils.urls import open_url

RECORD: Final = "release.json"
BUILDING: Final = "building"
ENVIRONMENT: Final = "venv"
REQUIREMENTS: Final = "requirements.txt"
FETCH_TIMEOUT: Final = 30
LARGEST_REQUIREMENTS: Final = 4 * 1024 * 1024

Run = Callable[[Sequence[str], Mapping[str, str]], tuple[int, str]]
"""Runs an argv with additions to the environment; returns the exit code and what was said on both outputs."""


class ReleaseError(Exception):
    """A release cannot be had; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The release that shall be there."""

    path: Path
    package: str
    version: str
    wheelhouse_url: str
    command: str
    python: str = "/usr/bin/python3"
    ca_file: str | None = None
    requirements_sha256: str | None = None

    @property
    def url(self) -> str:
        """The wheelhouse of this version, with a slash at its end."""
        return f"{self.wheelhouse_url.rstrip('/')}/{quote(self.version)}/"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a finished release says about itself; `python` is the interpreter's version as `3.13`."""

    package: str
    version: str
    python: str
    requirements_sha256: str

    @classmethod
    def parse(cls, text: str) -> Record:
        """Read a record.

        :raises ValueError: for anything that `asdict` as JSON did not write.
        """
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not an object")
        fields = {name: value for name, value in data.items() if name in cls.__dataclass_fields__ and isinstance(value, str)}
        if len(fields) != len(cls.__dataclass_fields__):
            raise ValueError("a field is missing")
        return cls(**fields)


def normalized(name: str) -> str:
    """Return the name of a distribution as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find(wanted: Wanted) -> Record | None:
    """Return the record of the finished release at the path, None when it has yet to be built.

    :raises ReleaseError: if what is there is not a release of this package and version, or was not made here.
    """
    path = wanted.path
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ReleaseError(f"{path} is not a directory. Move it away.")
    if not path.exists():
        return None
    names = set(os.listdir(path))
    if RECORD not in names:
        if names and BUILDING not in names:
            raise ReleaseError(f"{path} holds {', '.join(sorted(names)[:5])} but no release. Move it away, or choose another directory.")
        return None
    try:
        record = Record.parse((path / RECORD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReleaseError(f"{path / RECORD} cannot be read ({error}). Remove {path}; it is then built anew.") from error
    if (normalized(record.package), record.version) != (normalized(wanted.package), wanted.version):
        raise ReleaseError(
            f"{path} holds {record.package} {record.version}, not {wanted.package} {wanted.version}. Choose another directory."
        )
    if wanted.requirements_sha256 and record.requirements_sha256 != wanted.requirements_sha256.lower():
        raise ReleaseError(
            f"{path} was built from a {REQUIREMENTS} with SHA-256 {record.requirements_sha256},"
            f" wanted is {wanted.requirements_sha256.lower()}."
            " A version is built once: give what has changed a new version."
        )
    return record


def fetch_requirements(wanted: Wanted) -> bytes:
    """Return requirements.txt of the version.

    :raises ReleaseError: if the wheelhouse does not have the version, cannot be reached, or has another content than was agreed on.
    """
    url = f"{wanted.url}{REQUIREMENTS}"
    try:
        with open_url(url, timeout=FETCH_TIMEOUT, ca_path=wanted.ca_file) as response:
            content: bytes = response.read(LARGEST_REQUIREMENTS + 1)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in {403, 404, 410}:
                raise ReleaseError(
                    f"the wheelhouse has no {wanted.package} {wanted.version}: {url} answers {error.code}."
                    " Choose a version that is there, or publish this one."
                ) from error
            raise ReleaseError(f"{url} answers {error.code}.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ReleaseError(f"{url} cannot be fetched: {reason}.") from error
    if len(content) > LARGEST_REQUIREMENTS:
        raise ReleaseError(f"{url} is larger than {LARGEST_REQUIREMENTS} bytes.")
    check_requirements(wanted, content)
    return content


def check_requirements(wanted: Wanted, content: bytes) -> None:
    """Judge the content of requirements.txt: it pins the package to the version, everything has a hash, and it is what was agreed on.

    :raises ReleaseError: naming what is wrong.
    """
    where = f"{wanted.url}{REQUIREMENTS}"
    digest = hashlib.sha256(content).hexdigest()
    if wanted.requirements_sha256 and digest != wanted.requirements_sha256.lower():
        raise ReleaseError(f"{where} has SHA-256 {digest}, wanted is {wanted.requirements_sha256.lower()}.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{where} is not UTF-8 text.") from error
    lines = [line.strip() for line in re.sub(r"\\\r?\n", " ", text).splitlines()]
    pinned: dict[str, str] = {}
    for line in (line for line in lines if line and not line.startswith("#")):
        found = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*==\s*([^\s;]+)", line)
        if not found or "--hash=" not in line:
            raise ReleaseError(f"{where} must pin every package as name==version --hash=sha256:..., which this line does not: {line[:120]}")
        pinned[normalized(found[1])] = found[2]
    if pinned.get(normalized(wanted.package)) != wanted.version:
        raise ReleaseError(f"{where} does not pin {wanted.package}=={wanted.version}.")


def pip_arguments(wanted: Wanted) -> list[str]:
    """Return the arguments of pip that install the release from its wheelhouse and from nowhere else."""
    arguments = ["install", "--isolated", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar=off", "--quiet"]
    arguments += ["--no-index", "--only-binary=:all:", "--require-hashes", f"--find-links={wanted.url}"]
    parts = urlsplit(wanted.url)
    if parts.scheme == "http" and parts.hostname:
        # Every file is held against its hash, so that the way it came does not matter.
        arguments.append(f"--trusted-host={parts.hostname}")
    if wanted.ca_file:
        arguments.append(f"--cert={wanted.ca_file}")
    return [*arguments, f"--requirement={wanted.path / REQUIREMENTS}"]


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Make the directory this run's own until it is finished.

    :raises ReleaseError: if another run is building there.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / BUILDING).open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReleaseError(f"another run is building {path} at this moment. Wait for it.") from error
        yield


def build(wanted: Wanted, requirements: bytes, run: Run) -> Record:
    """Build the release and write its record last; what an earlier build left behind is removed first.

    :raises ReleaseError: in the words of what refused; the directory is then no release, and the next build begins anew.
    """
    path, environment = wanted.path, wanted.path / ENVIRONMENT
    interpreter = str(environment / "bin" / "python")
    with claimed(path):
        if (finished := find(wanted)) is not None:  # by another run, since this one looked
            return finished
        if environment.is_dir():
            shutil.rmtree(environment)
        (path / REQUIREMENTS).write_bytes(requirements)
        _must(run, [wanted.python, "-m", "venv", str(environment)], f"{wanted.python} cannot make a virtual environment")
        _must(run, [interpreter, "-m", "pip", *pip_arguments(wanted)], "pip refuses")
        _must(run, [interpreter, "-m", "pip", "check"], "packages do not fit each other")
        if not os.access(environment / "bin" / wanted.command, os.X_OK):
            raise ReleaseError(f"{wanted.package} {wanted.version} installs no command {wanted.command}.")
        question = "import sys, importlib.metadata as m; print('%d.%d' % sys.version_info[:2], m.version(sys.argv[1]))"
        python, version = _must(run, [interpreter, "-I", "-c", question, wanted.package], "the package cannot be found").split()
        if version != wanted.version:
            raise ReleaseError(f"the wheel of {wanted.package} {wanted.version} calls itself {version}.")
        record = Record(
            package=wanted.package, version=version, python=python, requirements_sha256=hashlib.sha256(requirements).hexdigest()
        )
        finish(path, record)
    return record


def finish(path: Path, record: Record) -> None:
    """Write the record, after everything else has reached the disk."""
    draft = path / f".{RECORD}.new"
    with draft.open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record), indent=2, sort_keys=True) + "\n")
    os.sync()
    draft.replace(path / RECORD)
    (path / BUILDING).unlink()
    os.sync()


def _must(run: Run, argv: Sequence[str], complaint: str) -> str:
    code, text = run(argv, {"PIP_CONFIG_FILE": os.devnull})
    if code != 0:
        words = " ".join(text.split())
        raise ReleaseError(f"{complaint}: {words[-1500:] or f'exit code {code}'}")
    return text


def describe(record: Record | None) -> dict[str, Any]:
    """Return a record for a diff; an empty dictionary stands for a release that is not there."""
    return asdict(record) if record else {}
