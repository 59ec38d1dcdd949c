"""Recipes: what the mirror can build. A recipe is a directory with a `recipe.yml`; this module reads and fingerprints it."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from .process import MirrorError

RECIPES = Path(__file__).resolve().parent / "recipes"
BUILDERS = Path(__file__).resolve().parent / "builders"

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]*(/[a-z0-9][a-z0-9.+-]*)*")
_PACKAGE = re.compile(r"(?P<package>[a-z0-9][a-z0-9.+-]+)=(?P<version>[A-Za-z0-9.+:~-]+)")
_REQUIREMENT = re.compile(r"(?P<project>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.+!-]+)")


@dataclass(frozen=True)
class Wheel:
    """One wheel from the Python package index: project, exact version, SHA-256 and the platform tag to ask for."""

    project: str
    version: str
    sha256: str
    platform: str = "any"

    @property
    def key(self) -> str:
        return self.sha256

    def requirement(self) -> str:
        return f"{self.project}=={self.version} --hash=sha256:{self.sha256}\n"


@dataclass(frozen=True)
class Requirements:
    """All wheels of a fully pinned requirements file (with hashes) for one interpreter and platform."""

    project: str
    text: str
    python_version: str
    platforms: tuple[str, ...]

    @property
    def key(self) -> str:
        return digest([self.text.encode(), self.python_version.encode(), *(name.encode() for name in self.platforms)])

    def requirement(self) -> str:
        return self.text


@dataclass(frozen=True)
class DebianPackage:
    """One package of Debian, for amd64: name, exact version, SHA-256, and the release (`bullseye`) whose archive still has it."""

    package: str
    version: str
    sha256: str
    suite: str

    @property
    def key(self) -> str:
        return self.sha256


Source = Wheel | Requirements | DebianPackage


@dataclass(frozen=True)
class Publication:
    """Where the Debian packages of a recipe appear: suites and component of the apt repository, and the origin that Release files name."""

    suites: tuple[str, ...]
    component: str
    origin: str


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe.

    name: directory name; version: what the builder makes; epoch: seconds since 1970 written into every file that is made (reproducible
    builds); builder: module of lab.mirror.builders; sources: pinned downloads; inputs: files of this checkout that the builder reads, by
    the path it sees; options: the rest of recipe.yml, for the builder; key: SHA-256 over all of that and over the builder's own code.
    """

    name: str
    directory: Path
    version: str
    epoch: int
    builder: str
    sources: tuple[Source, ...]
    publication: Publication | None
    inputs: Mapping[str, Path]
    key: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Directory name of the artefacts in the cache."""
        return f"{self.name}-{self.key[:16]}"


def available(root: Path = RECIPES) -> list[str]:
    """Names of all recipes, sorted."""
    return sorted(path.parent.name for path in root.glob("*/recipe.yml"))


def load(name: str, root: Path = RECIPES) -> Recipe:
    """Read the recipe `name`; a MirrorError names the recipe, the field and what is wrong with it."""
    directory = root / name
    if not _NAME.fullmatch(name) or not (directory / "recipe.yml").is_file():
        raise MirrorError(f"There is no mirror recipe {name!r}. Known recipes: {', '.join(available(root))}.")
    try:
        document = yaml.safe_load((directory / "recipe.yml").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise MirrorError(f"Recipe {name}: recipe.yml is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise MirrorError(f"Recipe {name}: recipe.yml must be a mapping.")
    return _parse(name, directory, document)


def _parse(name: str, directory: Path, document: dict[str, Any]) -> Recipe:
    options = dict(document)

    def take(key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        value = options.pop(key, default)
        if value is None:
            raise MirrorError(f"Recipe {name}: {key} is missing.")
        if not isinstance(value, kind):
            raise MirrorError(f"Recipe {name}: {key} = {value!r} has the wrong type.")
        return value

    version = take("version", str)
    epoch = _epoch(name, take("date", (date, datetime)))
    builder = take("builder", str)
    module = BUILDERS / f"{builder}.py"
    if not builder.isidentifier() or not module.is_file():
        known = ", ".join(sorted(path.stem for path in BUILDERS.glob("*.py") if path.stem != "__init__"))
        raise MirrorError(f"Recipe {name}: there is no builder {builder!r}. Known builders: {known}.")
    sources = tuple(_source(name, directory, entry) for entry in take("sources", list, []))
    publication = _publication(name, take("apt", dict)) if "apt" in options else None
    inputs = dict(_inputs(name, directory, take("inputs", list, [])))
    parts: list[bytes] = [module.read_bytes(), (BUILDERS / "__init__.py").read_bytes(), *(source.key.encode() for source in sources)]
    for path, real in sorted(inputs.items()):
        parts += [path.encode(), b"x" if real.stat().st_mode & 0o100 else b"-", real.read_bytes()]
    return Recipe(name, directory, version, epoch, builder, sources, publication, inputs, digest(parts), options)


def _epoch(name: str, value: date | datetime) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment.year < 1980:
        raise MirrorError(f"Recipe {name}: date = {value} is before 1980, which a wheel cannot hold.")
    return int(moment.timestamp())


def _source(name: str, directory: Path, entry: Any) -> Source:
    if not isinstance(entry, dict):
        raise MirrorError(f"Recipe {name}: sources: {entry!r} is not a mapping.")
    known = {
        "wheel": {"wheel", "sha256", "platform"},
        "requirements": {"requirements", "python_version", "platforms"},
        "debian": {"debian", "sha256", "suite"},
    }
    for kind, keys in known.items():
        if kind in entry and set(entry) - keys:
            raise MirrorError(f"Recipe {name}: sources: {kind}: unknown field {', '.join(sorted(set(entry) - keys))}.")
    if "wheel" in entry:
        match = _REQUIREMENT.fullmatch(str(entry["wheel"]))
        if match is None:
            raise MirrorError(f"Recipe {name}: sources: wheel = {entry['wheel']!r} is not of the form project==version.")
        _check_sha256(name, entry["wheel"], entry)
        return Wheel(match["project"], match["version"], entry["sha256"], str(entry.get("platform", "any")))
    if "requirements" in entry:
        path = (directory / str(entry["requirements"])).resolve()
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise MirrorError(f"Recipe {name}: sources: requirements: {error}") from error
        python_version, platforms = entry.get("python_version"), entry.get("platforms")
        if not isinstance(python_version, str) or not re.fullmatch(r"3\.\d+", python_version):
            raise MirrorError(f'Recipe {name}: sources: python_version = {python_version!r} must be a quoted version such as "3.13".')
        if not isinstance(platforms, list) or not platforms or not all(isinstance(platform, str) for platform in platforms):
            raise MirrorError(f"Recipe {name}: sources: platforms = {platforms!r} must be a list of platform tags.")
        return Requirements(path.stem, text, python_version, tuple(platforms))
    if "debian" in entry:
        match = _PACKAGE.fullmatch(str(entry["debian"]))
        if match is None:
            raise MirrorError(f"Recipe {name}: sources: debian = {entry['debian']!r} is not of the form package=version.")
        if not re.fullmatch(r"[a-z]+", str(entry.get("suite", ""))):
            raise MirrorError(
                f"Recipe {name}: sources: {entry['debian']}: suite = {entry.get('suite')!r} must be a release such as bullseye."
            )
        _check_sha256(name, entry["debian"], entry)
        return DebianPackage(match["package"], match["version"], entry["sha256"], entry["suite"])
    raise MirrorError(f"Recipe {name}: sources: {entry!r} has neither `wheel` nor `requirements` nor `debian`.")


def _check_sha256(name: str, what: str, entry: Mapping[str, Any]) -> None:
    if not _SHA256.fullmatch(str(entry.get("sha256", ""))):
        raise MirrorError(f"Recipe {name}: sources: {what}: sha256 must be 64 hexadecimal digits.")


def _publication(name: str, entry: dict[str, Any]) -> Publication:
    suites, component, origin = entry.get("suites"), entry.get("component", "main"), entry.get("origin")
    if not isinstance(suites, list) or not suites or not all(isinstance(suite, str) and _SUITE.fullmatch(suite) for suite in suites):
        raise MirrorError(f"Recipe {name}: apt.suites = {suites!r} must be a list of suites such as bookworm/mongodb-org/6.0.")
    if not isinstance(component, str) or not _NAME.fullmatch(component):
        raise MirrorError(f"Recipe {name}: apt.component = {component!r} is not a component name.")
    if not isinstance(origin, str) or not origin or "\n" in origin:
        raise MirrorError(f"Recipe {name}: apt.origin = {origin!r} must be one line of text.")
    return Publication(tuple(suites), component, origin)


def _inputs(name: str, directory: Path, extra: list[Any]) -> Iterator[tuple[str, Path]]:
    """The recipe's own files, then what `inputs: [{path, as}]` names elsewhere in the checkout (`path` is relative to the recipe)."""
    for relative, path in _files(directory):
        yield relative, path
    for entry in extra:
        if not isinstance(entry, dict) or set(entry) != {"path", "as"}:
            raise MirrorError(f"Recipe {name}: inputs: {entry!r} must have exactly the fields path and as.")
        path = (directory / str(entry["path"])).resolve()
        if path.is_file():
            yield str(entry["as"]), path
        elif path.is_dir():
            for relative, inner in _files(path):
                yield f"{entry['as']}/{relative}", inner
        else:
            raise MirrorError(f"Recipe {name}: inputs: {entry['path']} does not exist.")


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """All files below `directory`, without hidden ones and Python's caches."""
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" or part.endswith("~") for part in relative.parts):
            yield relative.as_posix(), path


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over the SHA-256 of each part, so that the border between two parts counts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
