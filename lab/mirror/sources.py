"""Fetches pinned sources into the cache, by content: what is there with the right hash is never fetched again."""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .process import run
from .recipe import Requirements, Source, Wheel


def fetch(source: Source, cache: Path, scratch: Path, report: Callable[[str], None]) -> Path:
    """Return the directory of `cache` that holds the wheels of `source`; pip, as it is configured on this machine, gets what is missing.

    pip refuses a file whose hash is not the pinned one. The directory appears by rename, so it is whole or not there; `scratch` must be
    on the same file system. The caller holds the cache's lock.
    """
    target = cache / source.key
    if target.is_dir() and _whole(source, target):
        return target
    report(f"fetching {source.project} {source.version}" if isinstance(source, Wheel) else f"fetching the wheels of {source.project}.txt")
    work = Path(tempfile.mkdtemp(dir=scratch, prefix="fetch-"))
    (work / "requirements.txt").write_text(source.requirement(), encoding="utf-8")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    argv += ["--dest", str(work / "wheels"), "--requirement", str(work / "requirements.txt"), *_interpreter(source)]
    run(argv, purpose=f"fetch {source.project}")
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    (work / "wheels").rename(target)
    return target


def _interpreter(source: Source) -> list[str]:
    if isinstance(source, Requirements):
        platforms = [f"--platform={name}" for name in source.platforms]
        return [*platforms, "--implementation=cp", f"--python-version={source.python_version}"]
    return [] if source.platform == "any" else [f"--platform={source.platform}"]


def _whole(source: Source, directory: Path) -> bool:
    """Whether the cached files are still what was pinned (a torn write after a power cut, a disk error)."""
    found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
    if isinstance(source, Wheel):
        return found == {source.sha256}
    return bool(found) and all(digest in source.text for digest in found)
