"""The package mirror of the lab: builds what Debian does not ship, once per machine, and lays it out as one tree for a web server.

    tree = build(["mongodb-6.0.5", "linda-lab-api"], Path.home() / ".cache/linda-ops", print)
    tree.root          # serve this directory, read only: apt/ is a signed repository, wheelhouse/ holds Python wheels

README.md beside this file tells how to add a recipe.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from . import repository
from .builders import Context
from .process import MirrorError
from .recipe import RECIPES, Recipe, available, digest, load
from .sources import fetch

__all__ = ["HOST_PACKAGES", "MirrorError", "MirrorTree", "available", "build", "mongod_binary"]

HOST_PACKAGES: tuple[str, ...] = ("apt-utils", "binutils", "dpkg-dev", "gnupg")
"""Debian packages that the machine needs for `build`."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class MirrorTree:
    """A finished mirror.

    root: directory to serve, complete and never changed again (another set of recipes has another directory);
    key_armored: public signing key as ASCII-armoured text; key_fingerprint: its 40 hexadecimal digits.
    """

    root: Path
    key_armored: str
    key_fingerprint: str


def build(recipes: Sequence[str], cache: Path, report: Report, *, root: Path = RECIPES) -> MirrorTree:
    """Build whatever of `recipes` the directory `cache` lacks and return the mirror that serves all of them.

    What is there already is neither built nor fetched again. A build may be interrupted at any moment and started again, and several
    may run at once: they take turns. `report` gets one line about each step that takes time. `root` is the directory of the recipes.
    Raises MirrorError with a plain message.
    """
    chosen = [load(name, root) for name in sorted(set(recipes))]
    with _exclusive(cache, report) as scratch:
        artefacts = {recipe.name: _artefact(recipe, cache, scratch, report) for recipe in chosen}
        key = repository.ensure_key(cache / "gnupg", scratch)
        code = Path(repository.__file__).read_bytes()
        target = cache / "mirror" / digest([code, key.fingerprint.encode(), *(recipe.slug.encode() for recipe in chosen)])[:16]
        if not target.is_dir():
            report("signing the package repository")
            tree = scratch / "tree"
            tree.mkdir()
            for recipe in chosen:
                _link_tree(artefacts[recipe.name] / "www", tree)
            suites = _suites(chosen, artefacts)
            if suites:
                repository.publish(tree / "apt", suites, key)
            (tree / "key.asc").write_text(key.armored, encoding="utf-8")
            _finish(tree, target)
    return MirrorTree(target, key.armored, key.fingerprint)


def mongod_binary(cache: Path, report: Report = lambda line: None) -> Path:
    """Path of an executable mongod 6.0.5 in `cache`, built there at first use.

    It runs on Debian 12 and 13 with libcurl4 (libcurl4t64), liblzma5 and libssl3 (libssl3t64) installed.
    """
    with _exclusive(cache, report) as scratch:
        return _artefact(load("mongodb-6.0.5"), cache, scratch, report) / "files" / "usr" / "bin" / "mongod"


@contextmanager
def _exclusive(cache: Path, report: Report) -> Iterator[Path]:
    """Hold the cache's lock (the kernel drops it with the process) and give an empty scratch directory on the cache's file system."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "mirror.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another build in this cache")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # A killed build leaves its scratch directory, and perhaps a child that still writes there: take that away, never use it.
        area = cache / "mirror.scratch"
        shutil.rmtree(area, ignore_errors=True)
        area.mkdir(mode=0o700, exist_ok=True)
        try:
            yield Path(tempfile.mkdtemp(dir=area))
        finally:
            shutil.rmtree(area, ignore_errors=True)


def _artefact(recipe: Recipe, cache: Path, scratch: Path, report: Report) -> Path:
    """The finished output of a recipe, built at need. The caller holds the lock."""
    target = cache / "recipes" / recipe.slug
    if target.is_dir():
        return target

    def say(line: str) -> None:
        report(f"{recipe.name}: {line}")

    sources = tuple(fetch(source, cache / "sources", scratch, say) for source in recipe.sources)
    work = Path(tempfile.mkdtemp(dir=scratch, prefix="build-"))
    output = Path(tempfile.mkdtemp(dir=scratch, prefix="output-"))
    say("building")
    import_module(f"{__name__}.builders.{recipe.builder}").build(Context(recipe, sources, work, output, say))
    shutil.rmtree(work)
    _finish(output, target)
    return target


def _suites(recipes: Sequence[Recipe], artefacts: dict[str, Path]) -> list[repository.Suite]:
    """The apt suites of the mirror: each recipe's packages appear in every suite that the recipe names."""
    components: dict[str, dict[str, tuple[Path, ...]]] = {}
    origins: dict[str, str] = {}
    for recipe in recipes:
        if recipe.publication is None:
            continue
        packages = tuple(sorted((artefacts[recipe.name] / "packages").glob("*.deb")))
        for suite in recipe.publication.suites:
            if origins.setdefault(suite, recipe.publication.origin) != recipe.publication.origin:
                raise MirrorError(f"Recipe {recipe.name}: suite {suite} has the origin {origins[suite]} in another recipe.")
            found = components.setdefault(suite, {})
            found[recipe.publication.component] = found.get(recipe.publication.component, ()) + packages
    return [repository.Suite(name, origins[name], components[name]) for name in sorted(components)]


def _link_tree(source: Path, target: Path) -> None:
    """Repeat the directories below `source` in `target`, with hard links to its files."""
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)


def _finish(made: Path, target: Path) -> None:
    """Put a finished directory in its place: readable for the web server, on the disk before its name is, and all at once."""
    for path in [made, *made.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644 | path.stat().st_mode & 0o111)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    target.parent.mkdir(parents=True, exist_ok=True)
    made.rename(target)
