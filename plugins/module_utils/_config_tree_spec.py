# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parameters of config_tree, and the form in which a rendered tree travels from the controller to the host."""

from __future__ import annotations

import base64
import dataclasses
import difflib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import (
    ConfigTreeError,
    clean_dest,
    clean_link,
    clean_path,
    is_below,
    matches,
    parents,
)

STATE_DIRECTORY = "/var/lib/linda-ops/config_tree"
# Below, an ordinary reload with its probe and a login would not fit; above, an operator would be locked out for longer than they wait.
SHORTEST_WINDOW, LONGEST_WINDOW = 10, 3600

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "src": {"type": "str"},
    "dest": {"type": "str", "required": True},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "template": {"type": "str"},
            "content": {"type": "str"},
            "vars": {"type": "dict", "default": {}},
        },
        "mutually_exclusive": [("template", "content")],
        "required_one_of": [("template", "content")],
    },
    "links": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "str", "required": True}, "target": {"type": "str", "required": True}},
    },
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "modes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "pattern": {"type": "str", "required": True},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
    "exclusive": {"type": "list", "elements": "str", "default": []},
    "sensitive": {"type": "list", "elements": "str", "default": []},
    "validate": {"type": "list", "elements": "list", "default": []},
    "watch": {"type": "list", "elements": "str", "default": []},
    "apply": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "paths": {"type": "list", "elements": "str", "default": ["**"]},
            "unit": {"type": "str"},
            "action": {"type": "str", "choices": ["reload", "restart", "start"], "default": "reload"},
            "enabled": {"type": "bool"},
            "argv": {"type": "list", "elements": "str"},
        },
        "mutually_exclusive": [("unit", "argv")],
        "required_one_of": [("unit", "argv")],
    },
    "probe": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "tcp": {"type": "str"},
            "url": {"type": "str"},
            "status": {"type": "list", "elements": "int", "default": [200]},
            "server_name": {"type": "str"},
            "ca_file": {"type": "str"},
            "body": {"type": "str"},
            "argv": {"type": "list", "elements": "str"},
        },
        "mutually_exclusive": [("tcp", "url", "argv")],
        "required_one_of": [("tcp", "url", "argv")],
    },
    "deadline": {"type": "int", "default": 30},
    "confirm": {"type": "int"},
    "confirm_port": {"type": "int"},
    "state_directory": {"type": "path", "default": STATE_DIRECTORY},
    "rendered": {"type": "str", "no_log": True},
    "confirming": {"type": "str", "no_log": False},
}
"""Argument spec shared by the action plugin (which checks the task) and the module (which runs on the host)."""

INTERNAL = ("rendered", "confirming")
"""Parameters that the action plugin sets, and no playbook."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSpec:
    """A rendered file: content as bytes, owner and group as names or None for the user that runs the module."""

    path: str
    content: bytes
    mode: int
    owner: str | None = None
    group: str | None = None
    sensitive: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class DirectorySpec:
    """A directory whose mode and owners are managed; ``implied`` ones are only created when missing."""

    path: str
    mode: int
    owner: str | None = None
    group: str | None = None
    implied: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    """Everything the host has to know about the content; sorted by path."""

    dest: str
    files: tuple[FileSpec, ...] = ()
    directories: tuple[DirectorySpec, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    exclusive: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()

    def encode(self) -> str:
        """Return the tree as one compressed text that carries any bytes."""
        data = {
            "dest": self.dest,
            "files": [{**dataclasses.asdict(f), "content": base64.b64encode(f.content).decode()} for f in self.files],
            "directories": [dataclasses.asdict(directory) for directory in self.directories],
            "links": self.links,
            "exclusive": self.exclusive,
            "sensitive": self.sensitive,
        }
        return base64.b64encode(zlib.compress(json.dumps(data, sort_keys=True).encode(), 6)).decode()

    @classmethod
    def decode(cls, text: str) -> Tree:
        """Return the tree that encode() wrote.

        :raises ConfigTreeError: if the text is nothing that encode() writes.
        """
        try:
            data = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        except (ValueError, zlib.error) as error:
            raise ConfigTreeError("rendered: not a tree written by the action plugin linda.ops.config_tree") from error
        return cls(
            dest=clean_dest(data["dest"]),
            files=tuple(FileSpec(**{**entry, "content": base64.b64decode(entry["content"])}) for entry in data["files"]),
            directories=tuple(DirectorySpec(**entry) for entry in data["directories"]),
            links=tuple((path, target) for path, target in data["links"]),
            exclusive=tuple(data["exclusive"]),
            sensitive=tuple(data["sensitive"]),
        )


def octal_mode(text: str, what: str) -> int:
    """Return the mode of an octal text such as ``"0640"``.

    :raises ConfigTreeError: for anything else, a symbolic mode and a number read by YAML included.
    """
    if not re.fullmatch(r"0[0-7]{3,4}", text):
        raise ConfigTreeError(f'{what}: {text!r} is not a mode; write it quoted and octal, for example "0640"')
    return int(text, 8)


def refuse_unknown(given: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]] | None = None, above: str = "") -> None:
    """Refuse parameters that do not exist, in lists of dictionaries too, and suggest the one that was meant.

    :raises ConfigTreeError: naming the parameter.
    """
    options = ARGUMENTS if options is None else options
    for name, value in given.items():
        if name not in options:
            close = difflib.get_close_matches(name, [known for known in options if known not in INTERNAL], n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(set(options) - set(INTERNAL)))}"
            raise ConfigTreeError(f"config_tree has no parameter {above}{name}{hint}")
        for entry in value if isinstance(value, list) else []:
            if isinstance(entry, Mapping) and "options" in options[name]:
                refuse_unknown(entry, options[name]["options"], f"{name}.")


def check_parameters(params: Mapping[str, Any]) -> None:
    """Refuse what the argument spec cannot express.

    :raises ConfigTreeError: naming the parameter, its value and the remedy.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", params["name"]):
        raise ConfigTreeError(f"name: {params['name']!r} must consist of a-z, 0-9, '_', '.', '-' and start with a letter or digit")
    clean_dest(params["dest"])
    if params["deadline"] < 1:
        raise ConfigTreeError(f"deadline: {params['deadline']} must be at least 1 second")
    if params["confirm"] is not None and not SHORTEST_WINDOW <= params["confirm"] <= LONGEST_WINDOW:
        raise ConfigTreeError(f"confirm: {params['confirm']} must be {SHORTEST_WINDOW} to {LONGEST_WINDOW} seconds")
    if params["confirm_port"] is not None:
        if params["confirm"] is None:
            raise ConfigTreeError("confirm_port: means nothing without confirm")
        if not 1 <= params["confirm_port"] <= 65535:
            raise ConfigTreeError(f"confirm_port: {params['confirm_port']} is not a port (1 to 65535)")
    for argv in params["validate"]:
        if not argv or not all(isinstance(word, str) for word in argv):
            raise ConfigTreeError(f"validate: {argv!r} must be a list of words, such as [nginx, -t, -c, '{{staged}}/nginx.conf']")
    for key in ("apply", "probe"):
        for entry in params[key]:
            if entry["argv"] is not None and not entry["argv"]:
                raise ConfigTreeError(f"{key}: argv is empty")
    for path in params["watch"]:
        if not path.startswith("/") or ".." in path.split("/"):
            raise ConfigTreeError(f"watch: {path!r} must be an absolute path without '..'")
        if not any(matches(pattern, path, params["dest"]) for entry in params["apply"] for pattern in entry["paths"]):
            raise ConfigTreeError(f"watch: no entry of apply covers {path}; add it to the paths of the step that its change needs")
    for entry in params["probe"]:
        if entry["tcp"] is not None and not re.fullmatch(r".+:\d{1,5}", entry["tcp"]):
            raise ConfigTreeError(f"probe: tcp {entry['tcp']!r} must be host:port")
        if entry["url"] is not None and not re.match(r"https?://[^/]+", entry["url"]):
            raise ConfigTreeError(f"probe: url {entry['url']!r} must start with http:// or https:// and name a host")


def build_tree(params: Mapping[str, Any], contents: Mapping[str, tuple[bytes, bool]]) -> Tree:
    """Return the tree of rendered ``contents`` (path -> content, executable) with modes, links and directories of the parameters.

    :raises ConfigTreeError: for paths that leave dest, meet each other or need each other's place.
    """
    dest = clean_dest(params["dest"])
    files = tuple(_file_spec(params, dest, path, *contents[path]) for path in sorted(contents))
    links = _links(params["links"], dest)
    exclusive = tuple(sorted({clean_path(path, "exclusive") for path in params["exclusive"]}))
    if "." in exclusive and dest.count("/") == 1:
        raise ConfigTreeError(f"exclusive: '.' would empty {dest}, which belongs to the whole system")
    directories = {entry.path: entry for entry in (_directory_spec(params, item) for item in params["directories"])}
    if len(directories) != len(params["directories"]):
        raise ConfigTreeError("directories: one path is listed twice")
    needed = [*(f.path for f in files), *(path for path, _target in links), *directories, *exclusive]
    for path in sorted({".", *exclusive, *(above for key in needed for above in parents(key))}):
        directories.setdefault(path, _directory_spec(params, {"path": path}, implied=True))
    _refuse_collisions([f.path for f in files], [path for path, _target in links], directories)
    return Tree(
        dest=dest,
        files=files,
        directories=tuple(directories[path] for path in sorted(directories)),
        links=links,
        exclusive=exclusive,
        sensitive=tuple(params["sensitive"]),
    )


def _file_spec(params: Mapping[str, Any], dest: str, path: str, content: bytes, executable: bool) -> FileSpec:
    rule: Mapping[str, Any] = next((entry for entry in params["modes"] if matches(entry["pattern"], path, dest)), {})
    return FileSpec(
        path=path,
        content=content,
        mode=octal_mode(rule.get("mode") or ("0755" if executable else "0644"), f"modes: {rule.get('pattern')}"),
        owner=rule.get("owner") or params["owner"],
        group=rule.get("group") or params["group"],
        sensitive=any(matches(pattern, path, dest) for pattern in params["sensitive"]),
    )


def _directory_spec(params: Mapping[str, Any], entry: Mapping[str, Any], *, implied: bool = False) -> DirectorySpec:
    path = clean_path(entry["path"], "directories")
    return DirectorySpec(
        path=path,
        mode=octal_mode(entry.get("mode") or "0755", f"directories: {path}"),
        owner=entry.get("owner") or params["owner"],
        group=entry.get("group") or params["group"],
        implied=implied,
    )


def _links(entries: Sequence[Mapping[str, str]], dest: str) -> tuple[tuple[str, str], ...]:
    links = sorted((clean_link(entry["path"], dest), entry["target"]) for entry in entries)
    for path, target in links:
        if path == ".":
            raise ConfigTreeError("links: dest itself cannot be a link")
        if not target or "\0" in target:
            raise ConfigTreeError(f"links: {path} has no usable target")
    return tuple(links)


def _refuse_collisions(files: Sequence[str], links: Sequence[str], directories: Mapping[str, DirectorySpec]) -> None:
    leaves = [*files, *links]
    for path in leaves:
        if leaves.count(path) > 1:
            raise ConfigTreeError(f"{path}: named twice")
        if path in directories:
            inside = next((other for other in sorted({*leaves, *directories}) if is_below(other, path)), "its own entry")
            raise ConfigTreeError(f"{path}: cannot be a file or link and a directory (of {inside}) at once")
