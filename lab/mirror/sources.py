"""Fetches pinned sources into the cache, by content: what is there with the right hash is never fetched again."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .process import MirrorError, run
from .recipe import DebianPackage, Requirements, Source, Wheel

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def fetch(source: Source, cache: Path, scratch: Path, report: Callable[[str], None]) -> Path:
    """Return the directory of `cache` that holds the files of `source`; pip or apt, as configured on this machine, gets what is missing.

    A file whose hash is not the pinned one is refused. The directory appears by rename, so it is whole or not there; `scratch` must be
    on the same file system. The caller holds the cache's lock.
    """
    target = cache / source.key
    if target.is_dir() and _whole(source, target):
        return target
    work = Path(tempfile.mkdtemp(dir=scratch, prefix="fetch-"))
    if isinstance(source, DebianPackage):
        report(f"fetching {source.package} {source.version} of Debian's {source.suite}")
        files = _fetch_package(source, work)
    else:
        report(
            f"fetching {source.project} {source.version}" if isinstance(source, Wheel) else f"fetching the wheels of {source.project}.txt"
        )
        files = _fetch_wheels(source, work)
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.rename(target)
    return target


def _fetch_wheels(source: Wheel | Requirements, work: Path) -> Path:
    (work / "requirements.txt").write_text(source.requirement(), encoding="utf-8")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    argv += ["--dest", str(work / "wheels"), "--requirement", str(work / "requirements.txt"), *_interpreter(source)]
    run(argv, purpose=f"fetch {source.project}")
    return work / "wheels"


def _fetch_package(source: DebianPackage, work: Path) -> Path:
    """Get one package out of an archive of Debian by an apt of its own, which knows neither sources nor packages of this machine."""
    files = work / "packages"
    for directory in (files, work / "lists" / "partial", work / "cache" / "archives" / "partial"):
        directory.mkdir(parents=True)
    (work / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_debian_archive()} {source.suite} main\n", encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        # An archive of a release that is over is signed, and no longer renewed.
        "Acquire::Check-Valid-Until": "false",
    }
    argv = ["apt-get", "--quiet", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    run([*argv, "update"], purpose=f"read the package lists of Debian's {source.suite}")
    run([*argv, "download", f"{source.package}={source.version}"], cwd=files, purpose=f"fetch {source.package} {source.version}")
    if not _whole(source, files):
        raise MirrorError(f"The package {source.package} {source.version} of Debian's {source.suite} does not have the pinned hash.")
    return files


def _debian_archive() -> str:
    """Where this machine gets Debian from: LINDA_LAB_DEBIAN_URL if set, else its apt configuration."""
    if url := os.environ.get("LINDA_LAB_DEBIAN_URL"):
        return url
    listed = run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"], purpose="read the apt sources")
    for line in listed.splitlines():
        label, _, uri = line.partition("|")
        if label == "Debian":
            return uri
    raise MirrorError("The apt configuration of this machine names no archive of Debian. Set LINDA_LAB_DEBIAN_URL to one.")


def _interpreter(source: Wheel | Requirements) -> list[str]:
    if isinstance(source, Requirements):
        platforms = [f"--platform={name}" for name in source.platforms]
        return [*platforms, "--implementation=cp", f"--python-version={source.python_version}"]
    return [] if source.platform == "any" else [f"--platform={source.platform}"]


def _whole(source: Source, directory: Path) -> bool:
    """Whether the cached files are still what was pinned (a torn write after a power cut, a disk error)."""
    found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
    if isinstance(source, Wheel | DebianPackage):
        return found == {source.sha256}
    return bool(found) and all(digest in source.text for digest in found)
