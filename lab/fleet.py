"""The fleet as its file describes it: parsed and checked before anything is touched. Pure."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from .errors import LabError

DEFAULT_FILE = Path(__file__).with_name("fleet.yml")
DEFAULT_IMAGE = "debian13"
CONTROLLER_NUMBER = 1
MIRROR_NUMBER = 2
_FIRST_NUMBER, _LAST_NUMBER = 3, 254
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
_GROUP = re.compile(r"[a-z][a-z0-9_]*")
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]+")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SUITE = re.compile(r"[a-z]+")
_RESERVED = {
    "mirror": "the package mirror",
    "uplink": "the mirror's way out",
    "controller": "this machine",
    "all": "Ansible",
    "localhost": "this machine",
}


@dataclass(frozen=True)
class Image:
    """What a container is made of: minbase of a Debian suite and packages. `machine`: with systemd, sshd and the account ansible."""

    name: str
    suite: str
    packages: tuple[str, ...]
    machine: bool = True


@dataclass(frozen=True)
class Host:
    """A machine of the fleet. `number` is the last part of its address; `aliases` are further names for it."""

    name: str
    number: int
    image: str
    groups: tuple[str, ...]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fleet:
    """All machines of a lab: images, hosts and groups by name; `recipes` are the mirror's recipes by group."""

    domain: str
    images: Mapping[str, Image]
    hosts: Mapping[str, Host]
    groups: tuple[str, ...]
    recipes: Mapping[str, tuple[str, ...]]

    def select(self, wanted: Sequence[str]) -> tuple[Host, ...]:
        """The hosts that the names of hosts and groups in `wanted` stand for, all of them if it is empty; LabError for an unknown name."""
        if not wanted:
            return tuple(self.hosts.values())
        chosen: set[str] = set()
        for name in wanted:
            if name in self.hosts:
                chosen.add(name)
            elif name in self.groups:
                chosen.update(host.name for host in self.hosts.values() if name in host.groups)
            else:
                raise LabError(
                    f"There is no host or group {name!r} in this fleet{_closest(name, [*self.hosts, *self.groups])}.",
                    f"Choose from {', '.join([*self.groups, *self.hosts])}.",
                )
        return tuple(host for host in self.hosts.values() if host.name in chosen)

    def recipes_for(self, hosts: Sequence[Host]) -> tuple[str, ...]:
        """Names of the mirror's recipes that these hosts install from, sorted."""
        return tuple(sorted({recipe for host in hosts for group in host.groups for recipe in self.recipes.get(group, ())}))


def load(path: Path | None = None) -> Fleet:
    """Read a fleet file (the default one if None). LabError names the file, the place, the value and the remedy."""
    default = _read(DEFAULT_FILE)
    if path is None:
        return parse(default, str(DEFAULT_FILE))
    own = _read(path)
    if isinstance(own, dict) and isinstance(default, dict):
        own = {"domain": default.get("domain"), "images": default.get("images"), "groups": default.get("groups"), **own}
    return parse(own, str(path))


def _read(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"The fleet file {path} cannot be read: {error.strerror}.", "Give an existing file with --fleet.") from error
    except yaml.YAMLError as error:
        raise LabError(f"The fleet file {path} is not YAML.", "Correct the place named above.", str(error)) from error


def parse(data: object, source: str) -> Fleet:
    """Check the contents of a fleet file (`source` names it in messages) and return the fleet."""
    reader = _Reader(source)
    top = reader.mapping(data, "the file", {"domain", "images", "groups", "hosts"})
    domain = reader.text(top.get("domain"), "domain", _DOMAIN, "a domain name such as linda.test")
    images = {name: _image(reader, name, value) for name, value in reader.mapping(top.get("images"), "images").items()}
    recipes: dict[str, tuple[str, ...]] = {}
    for name, value in reader.mapping(top.get("groups") or {}, "groups").items():
        reader.text(name, f"groups: {name}", _GROUP, "a group name: small letters, digits and underscores")
        body = reader.mapping(value or {}, f"groups.{name}", {"recipes"})
        recipes[name] = reader.texts(body.get("recipes", []), f"groups.{name}.recipes", _PACKAGE, "a recipe's name")
    hosts = {name: _host(reader, name, value, images) for name, value in reader.mapping(top.get("hosts"), "hosts").items()}
    if not hosts:
        reader.refuse("hosts", "is empty", "Describe at least one host: `edge1: {address: 11, groups: [edge]}`.")
    _check_unique(reader, hosts)
    used = [group for host in hosts.values() for group in host.groups]
    for name in used:
        if name in hosts:
            reader.refuse(f"groups: {name}", "is the name of a host too", "Give the group another name.")
    return Fleet(domain, images, hosts, tuple(dict.fromkeys([*recipes, *used])), recipes)


def _image(reader: "_Reader", name: str, value: object) -> Image:
    where = f"images.{name}"
    reader.text(name, where, _NAME, "an image's name: small letters, digits and dashes")
    body = reader.mapping(value, where, {"suite", "packages", "machine"})
    machine = body.get("machine", True)
    if not isinstance(machine, bool):
        reader.refuse(f"{where}.machine", f"= {machine!r} is not true or false", "Leave it out for a machine with systemd and sshd.")
    suite = reader.text(body.get("suite"), f"{where}.suite", _SUITE, "a Debian suite such as trixie")
    return Image(
        name, suite, reader.texts(body.get("packages", []), f"{where}.packages", _PACKAGE, "a Debian package's name"), bool(machine)
    )


def _host(reader: "_Reader", name: str, value: object, images: Mapping[str, Image]) -> Host:
    where = f"hosts.{name}"
    reader.text(name, where, _NAME, "a host's name: small letters, digits and dashes")
    if name in _RESERVED:
        reader.refuse(where, f"is not to be had: the name stands for {_RESERVED[name]}", "Give the host another name.")
    body = reader.mapping(value, where, {"address", "image", "groups", "aliases"})
    number = body.get("address")
    if not isinstance(number, int) or isinstance(number, bool) or not _FIRST_NUMBER <= number <= _LAST_NUMBER:
        reader.refuse(
            f"{where}.address",
            f"= {number!r} is not a host's number",
            f"Give a whole number from {_FIRST_NUMBER} to {_LAST_NUMBER}, the last part of its address.",
        )
    image = body.get("image", DEFAULT_IMAGE)
    if image not in images:
        reader.refuse(
            f"{where}.image",
            f"= {image!r} is not an image of this fleet{_closest(str(image), images)}",
            f"Choose from {', '.join(images)}.",
        )
    if not images[image].machine:
        reader.refuse(f"{where}.image", f"= {image!r} has no systemd and no sshd", "Choose an image that is a machine.")
    groups = reader.texts(body.get("groups", []), f"{where}.groups", _GROUP, "a group's name: small letters, digits and underscores")
    aliases = reader.texts(body.get("aliases", []), f"{where}.aliases", _NAME, "a name: small letters, digits and dashes")
    return Host(name, number, image, groups, aliases)


def _check_unique(reader: "_Reader", hosts: Mapping[str, Host]) -> None:
    numbers: dict[int, str] = {}
    names: dict[str, str] = {}
    for host in hosts.values():
        other = numbers.setdefault(host.number, host.name)
        if other != host.name:
            reader.refuse(
                f"hosts.{host.name}.address", f"= {host.number} is the address of {other} too", "Give each host a number of its own."
            )
        for name in (host.name, *host.aliases):
            other = names.setdefault(name, host.name)
            if other != host.name:
                reader.refuse(
                    f"hosts.{host.name}", f"has the name {name}, which is a name of {other} too", "Give each host names of its own."
                )


def _closest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


class _Reader:
    """Takes values out of the parsed file, or refuses them with their place."""

    def __init__(self, source: str) -> None:
        self._source = source

    def refuse(self, where: str, what: str, remedy: str) -> NoReturn:
        """Raise LabError about the value at `where`."""
        raise LabError(f"{self._source}: {where} {what}.", remedy)

    def mapping(self, value: object, where: str, known: set[str] | None = None) -> dict[str, Any]:
        """`value` as a mapping with text keys, none of them outside `known`."""
        if not isinstance(value, dict):
            self.refuse(
                where,
                "is missing" if value is None else f"= {value!r} is not a mapping",
                "Write it as `name: value` lines; lab/fleet.yml is an example.",
            )
        for key in value:
            if not isinstance(key, str):
                self.refuse(where, f"has the key {key!r}, which is not text", "Put it in quotes.")
            if known is not None and key not in known:
                self.refuse(
                    where, f"has the unknown key {key!r}{_closest(key, sorted(known))}", f"Known keys are {', '.join(sorted(known))}."
                )
        return value

    def text(self, value: object, where: str, shape: re.Pattern[str], expected: str) -> str:
        """`value` as text of the given shape."""
        if not isinstance(value, str) or not shape.fullmatch(value):
            self.refuse(where, f"= {value!r} is not {expected}" if value is not None else "is missing", f"Set it to {expected}.")
        return str(value)

    def texts(self, value: object, where: str, shape: re.Pattern[str], expected: str) -> tuple[str, ...]:
        """`value` as a list of texts of the given shape, none twice."""
        if not isinstance(value, list):
            self.refuse(where, f"= {value!r} is not a list", f"Write it as a list, each item {expected}.")
        texts = tuple(self.text(item, f"{where}[{place}]", shape, expected) for place, item in enumerate(value))
        for text in texts:
            if texts.count(text) > 1:
                self.refuse(where, f"names {text!r} twice", "Name it once.")
        return texts
