# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a configuration transaction would do: pure comparison and planning, no I/O.

Paths are keys of two kinds: relative to the destination directory (``sites/api.conf``, ``.`` for the directory itself),
or absolute for symbolic links and watched paths outside it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os.path
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

UNKNOWN_ID = -1
"""User or group id of a name that the host does not know (yet)."""


class ConfigTreeError(Exception):
    """Anything that stops a transaction; the text is meant for a person."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One thing in the file system.

    ``kind`` is ``file``, ``directory``, ``link`` or ``other`` (socket, pipe, device). ``digest`` is the SHA-256 of a file's content,
    ``target`` the text of a link; mode and owners count for files and directories only.
    """

    kind: str
    digest: str = ""
    target: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0

    def describe(self) -> dict[str, Any]:
        """Return the node as plain data for a record on disk."""
        return dataclasses.asdict(self)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Node:
        """Return the node that describe() wrote."""
        return cls(**data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Desired:
    """The tree as it shall be. ``implied`` are directories that must exist, but whose mode and owner are left alone if they do."""

    nodes: Mapping[str, Node]
    implied: Mapping[str, Node] = dataclasses.field(default_factory=dict)
    exclusive: tuple[str, ...] = ()

    def claims(self, path: str) -> bool:
        """Tell whether a path is the tree's own directory, so that what stands in its way may be replaced."""
        node = self.nodes.get(path)
        return (node is not None and node.kind == "directory") or path in self.exclusive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owned:
    """A path of the last applied tree; ``created`` says that nothing stood there before this record took it."""

    node: Node
    created: bool = True
    sensitive: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreign:
    """A file or link that another tree on this host applied last."""

    owner: str
    node: Node


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One change of one path: ``mkdir``, ``put`` (file or link), ``attributes`` (of a directory), ``remove`` or ``rmdir``."""

    op: str
    path: str
    before: Node | None
    after: Node | None

    def describe(self) -> dict[str, Any]:
        """Return the step as plain data for the journal."""
        return {
            "op": self.op,
            "path": self.path,
            "before": self.before.describe() if self.before else None,
            "after": self.after.describe() if self.after else None,
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Step:
        """Return the step that describe() wrote."""
        before, after = data["before"], data["after"]
        return cls(
            op=data["op"],
            path=data["path"],
            before=Node.parse(before) if before else None,
            after=Node.parse(after) if after else None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps in their default order, and what has to be said beside them."""

    steps: tuple[Step, ...]
    drifted: tuple[str, ...] = ()
    released: tuple[str, ...] = ()


# --- paths and patterns ---------------------------------------------------------------------------------------------


def parent(path: str) -> str:
    """Return the directory of a key; the parent of ``a`` is ``.``."""
    return os.path.dirname(path) or "."


def parents(path: str) -> list[str]:
    """Return the relative directories above a relative key, outermost first, without ``.``."""
    found: list[str] = []
    while not path.startswith("/") and (path := parent(path)) != ".":
        found.append(path)
    return found[::-1]


def is_below(path: str, directory: str) -> bool:
    """Tell whether a relative key lies below a relative directory."""
    if path.startswith("/") != directory.startswith("/"):
        return False
    return path != "." if directory == "." else path.startswith(directory + "/")


def clean_path(path: str, what: str) -> str:
    """Return a relative path in its one spelling, or refuse it.

    :raises ConfigTreeError: for an absolute path, one that leaves the destination, or one with control characters.
    """
    if not path or path != path.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise ConfigTreeError(f"{what}: {path!r} is not a usable path")
    if path.startswith("/") or ".." in path.split("/"):
        raise ConfigTreeError(f"{what}: {path!r} must be a path inside dest, without a leading slash and without '..'")
    return os.path.normpath(path)


def clean_dest(dest: str) -> str:
    """Return the destination in its one spelling, or refuse it.

    :raises ConfigTreeError: if it is relative, is ``/`` or climbs with ``..``.
    """
    if not dest.startswith("/") or ".." in dest.split("/"):
        raise ConfigTreeError(f"dest: {dest!r} must be an absolute directory without '..'")
    cleaned = "/" + os.path.normpath(dest).strip("/")
    if cleaned == "/":
        raise ConfigTreeError("dest: the root directory '/' cannot be managed as a tree; name the directory below it")
    return cleaned


def clean_link(path: str, dest: str) -> str:
    """Return the key of a managed link: relative if it lies inside dest, else absolute.

    :raises ConfigTreeError: if the path is unusable.
    """
    if not path.startswith("/"):
        return clean_path(path, "links")
    absolute = "/" + clean_path(path.lstrip("/") or "", "links")
    if absolute == "/.":
        raise ConfigTreeError("links: the root directory cannot be a link")
    return key_of(absolute, dest)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    expression = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        expression += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return re.compile(expression, re.DOTALL)


def matches(pattern: str, path: str, dest: str) -> bool:
    """Tell whether a pattern covers a key.

    ``*`` and ``?`` stop at a slash, ``**`` does not. A relative pattern looks at paths inside dest, an absolute one at the full path;
    ``**`` alone covers everything.
    """
    if pattern == "**":
        return True
    subject = path
    if pattern.startswith("/"):
        subject = full_path(path, dest)
    elif path.startswith("/"):
        return False
    return _compiled(pattern).fullmatch(subject) is not None


def full_path(path: str, dest: str) -> str:
    """Return the absolute path of a key."""
    if path.startswith("/"):
        return path
    return dest if path == "." else f"{dest}/{path}"


def key_of(path: str, dest: str) -> str:
    """Return the key of an absolute path: relative if it lies inside dest."""
    return path[len(dest) + 1 :] if path.startswith(dest + "/") else path


# --- the plan -------------------------------------------------------------------------------------------------------


def plan(desired: Desired, observed: Mapping[str, Node], owned: Mapping[str, Owned], foreign: Mapping[str, Foreign] | None = None) -> Plan:
    """Return the steps from the observed tree to the desired one, in the order that is safest without asking a checker.

    ``observed`` holds every existing path among desired, implied and owned ones, everything below exclusive directories, and everything
    below a directory that stands where a file or link shall be. ``foreign`` are the files of the host's other trees: a file may move from
    one tree to another, but two trees that both want it would overwrite each other for ever.

    :raises ConfigTreeError: if something that nobody claimed stands in the way, or another tree wants the same file.
    """
    foreign = foreign or {}
    _refuse_rivals(desired, observed, owned, foreign)
    gone = _dropped(desired, observed, owned, foreign)
    steps: dict[str, list[Step]] = {}
    for path, before in sorted(gone.items()):
        steps[path] = [Step(op="rmdir" if before.kind == "directory" else "remove", path=path, before=before, after=None)]
    for path, after in sorted({**desired.implied, **desired.nodes}.items()):
        wanted = _steps_for(path, after, desired, observed, owned)
        if wanted:
            steps[path] = wanted
    _refuse_orphans(steps, observed)
    return Plan(
        steps=tuple(_ordered([step for several in steps.values() for step in several])),
        drifted=tuple(path for path, entry in sorted(owned.items()) if _drifted(path, entry, observed, desired)),
        released=tuple(path for path, entry in sorted(owned.items()) if path not in desired.nodes and not entry.created),
    )


def _drifted(path: str, entry: Owned, observed: Mapping[str, Node], desired: Desired) -> bool:
    now = observed.get(path)
    if path in desired.implied or (entry.node.kind == "directory" and path not in desired.nodes):
        return now is not None and now.kind != "directory"
    return now != entry.node


def _refuse_rivals(desired: Desired, observed: Mapping[str, Node], owned: Mapping[str, Owned], foreign: Mapping[str, Foreign]) -> None:
    for path, other in foreign.items():
        after = desired.nodes.get(path)
        if after is not None and path in owned and after != other.node == observed.get(path):
            raise ConfigTreeError(f"{path} is also managed by the tree {other.owner}, which wants it otherwise; take it out of one of them")
        inside = next((directory for directory in desired.exclusive if is_below(path, directory)), None)
        if inside is not None and path in observed and path not in desired.nodes:
            raise ConfigTreeError(f"{path} belongs to the tree {other.owner}, so {inside} cannot be exclusive here")


def _dropped(desired: Desired, observed: Mapping[str, Node], owned: Mapping[str, Owned], foreign: Mapping[str, Foreign]) -> dict[str, Node]:
    """What exists and shall go: strangers in exclusive directories, what this record created and wants no longer, what is in the way."""
    wanted = {**desired.implied, **desired.nodes}
    gone: dict[str, Node] = {}
    for path, node in observed.items():
        if path in wanted:
            continue
        in_exclusive = any(is_below(path, directory) for directory in desired.exclusive)
        in_the_way = [above for above in parents(path) if above in wanted and wanted[above].kind != "directory"]
        mine = path in owned and owned[path].created and path not in foreign
        if in_exclusive or mine:
            gone[path] = node
        elif in_the_way and path not in owned:
            raise ConfigTreeError(f"{in_the_way[0]} is a directory that holds {path}, which is not managed here; move it away first")
        elif in_the_way:
            gone[path] = node
    for path in [path for path, node in gone.items() if node.kind == "directory"]:
        if any(is_below(other, path) and other not in gone for other in {*observed, *wanted}):
            del gone[path]
    for path, node in gone.items():
        if node.kind == "other":
            raise ConfigTreeError(f"{path} is neither file, directory nor link and cannot be removed safely; remove it by hand")
    return gone


def _steps_for(path: str, after: Node, desired: Desired, observed: Mapping[str, Node], owned: Mapping[str, Owned]) -> list[Step]:
    before = observed.get(path)
    if after.kind == "directory":
        if before is None:
            return [Step(op="mkdir", path=path, before=None, after=after)]
        if before.kind != "directory":
            _refuse_stranger(path, before, desired, owned)
            return [
                Step(op="remove", path=path, before=before, after=None),
                Step(op="mkdir", path=path, before=None, after=after),
            ]
        same = path in desired.implied or (before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid)
        return [] if same else [Step(op="attributes", path=path, before=before, after=after)]
    if before == after:
        return []
    if before and before.kind == "other":
        raise ConfigTreeError(f"{path} is neither file, directory nor link; remove it by hand")
    if before and before.kind == "directory":
        return [
            Step(op="rmdir", path=path, before=before, after=None),
            Step(op="put", path=path, before=None, after=after),
        ]
    return [Step(op="put", path=path, before=before, after=after)]


def _refuse_stranger(path: str, before: Node, desired: Desired, owned: Mapping[str, Owned]) -> None:
    """Something that is no directory stands where one is needed: only what the tree claims may be replaced."""
    if desired.claims(path) or path in owned:
        return
    what = f"a link to {before.target}" if before.kind == "link" else "no directory"
    raise ConfigTreeError(
        f"{path} is {what}, but files below it are to be managed. Nothing is written through a link: remove it, "
        f"list {path} under directories to have it replaced, or manage the real directory."
    )


def _refuse_orphans(steps: Mapping[str, Sequence[Step]], observed: Mapping[str, Node]) -> None:
    """A directory can only make room for a file when everything in it goes too."""
    for path, several in steps.items():
        if several[0].op != "rmdir" or len(several) == 1:
            continue
        left = [other for other in observed if is_below(other, path) and not any(s.after is None for s in steps.get(other, ()))]
        if left:
            raise ConfigTreeError(f"{path} is a directory that holds {left[0]}, which is not managed here; move it away first")


# --- the order ------------------------------------------------------------------------------------------------------
#
# Files that appear land before files that may refer to them, the outermost files (the main ones) are changed last, and removals follow
# when nothing refers to the removed file any more. A path that changes its type has to make room first.

_MAKE_DIRECTORY, _ADD, _ADD_LINK, _CHANGE, _CHANGE_LINK, _REMOVE, _REMOVE_DIRECTORY = range(7)


def _rank(step: Step, replaced: frozenset[str]) -> tuple[int, int, str]:
    depth = step.path.count("/")
    makes_room = step.after is None and (step.path in replaced or any(directory in replaced for directory in parents(step.path)))
    if makes_room:
        return (_MAKE_DIRECTORY, -depth, step.path)
    if step.op in ("mkdir", "attributes"):
        return (_MAKE_DIRECTORY, depth, step.path)
    if step.op == "remove":
        return (_REMOVE, depth, step.path)
    if step.op == "rmdir":
        return (_REMOVE_DIRECTORY, -depth, step.path)
    is_link = step.after is not None and step.after.kind == "link"
    if step.before is None:
        return (_ADD_LINK if is_link else _ADD, -depth, step.path)
    return (_CHANGE_LINK if is_link else _CHANGE, -depth, step.path)


def _needs(step: Step, other: Step) -> bool:
    """Tell whether ``other`` has to be done before ``step`` can be."""
    if other.path == step.path:
        return other.after is None and step.before is None and other is not step
    if step.after is not None:
        return other.after is not None and other.op == "mkdir" and is_below(step.path, other.path)
    return step.op == "rmdir" and other.after is None and is_below(other.path, step.path)


def _ordered(steps: Sequence[Step]) -> list[Step]:
    return safe_order(steps, lambda _done: True)


def safe_order(steps: Sequence[Step], accepts: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Return the steps in an order in which ``accepts`` agrees to every prefix, as far as a greedy search finds one.

    The default order is tried first at each position, so that with an agreeable checker it is also the result. Where no next step is
    acceptable the default one is taken. ``accepts`` gets the steps done so far, the last one being the new one.
    """
    replaced = frozenset(step.path for step in steps if step.after is None and any(o.path == step.path for o in steps if o is not step))
    waiting = sorted(steps, key=lambda step: _rank(step, replaced))
    done: list[Step] = []
    while waiting:
        ready = [step for step in waiting if not any(_needs(step, other) for other in waiting)]
        chosen = next((step for step in ready if accepts([*done, step])), ready[0])
        waiting.remove(chosen)
        done.append(chosen)
    return done


# --- what has to be applied -----------------------------------------------------------------------------------------


def revision(nodes: Mapping[str, Node], watched: Mapping[str, str]) -> str:
    """Return the digest (hex SHA-256) of a tree and of the digests of the watched paths."""
    material = {"nodes": {path: node.describe() for path, node in nodes.items()}, "watched": dict(watched)}
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()


def unapplied(
    steps: Iterable[Step],
    desired: Mapping[str, Node],
    owned: Mapping[str, Owned],
    watched: Mapping[str, str],
    watched_before: Mapping[str, str],
) -> set[str]:
    """Return the keys in which the tree differs from the one that was last applied, whether or not a file has to be written."""
    changed = {step.path for step in steps}
    changed |= {path for path, node in desired.items() if path not in owned or owned[path].node != node}
    changed |= {path for path, digest in watched.items() if watched_before.get(path) != digest}
    return changed


def triggered(patterns: Sequence[str], changed: Iterable[str], dest: str) -> bool:
    """Tell whether one of the changed keys is covered by one of the patterns."""
    return any(matches(pattern, path, dest) for path in changed for pattern in patterns)
