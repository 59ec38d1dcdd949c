# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Paths into JSON documents: `status`, `$.checks[0].name`, `$["a.b"]`, `items[-1]`. No wildcards: a check wants one value.

Pure: no I/O, standard library only.
"""

from __future__ import annotations

import json
import re

_STEP = re.compile(
    r"""\.?(?P<key>[^\s.\[\]"']+)          # name or .name
      | \[(?P<index>-?\d+)\]               # [0]
      | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]  # ["any key"]
    """,
    re.VERBOSE,
)


class MissingPath(LookupError):
    """The document has nothing at the path; the message says where it ends."""


def parse_path(path: str) -> tuple[str | int, ...]:
    """The steps of a path: text for a key, a number for an index. `$` alone is the whole document.

    Raises ValueError naming the path when it cannot be read.
    """
    rest = path.removeprefix("$")
    if not path or rest.startswith("..") or (path.startswith("$") and rest and rest[0] not in ".["):
        raise ValueError(f"path {path!r} cannot be read")
    if not path.startswith("$") and path.startswith("."):
        raise ValueError(f"path {path!r} cannot be read")
    steps: list[str | int] = []
    position = 0
    while position < len(rest):
        match = _STEP.match(rest, position)
        if match is None or (match["key"] is not None and position > 0 and rest[position] != "."):
            raise ValueError(f"path {path!r} cannot be read at {rest[position:]!r}")
        if match["key"] is not None:
            steps.append(match["key"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            try:
                steps.append(str(json.loads(match["quoted"])))
            except ValueError as problem:
                raise ValueError(f"path {path!r} cannot be read at {rest[position:]!r}") from problem
        position = match.end()
    return tuple(steps)


def lookup(document: object, path: str) -> object:
    """The value at the path; raises MissingPath when there is none."""
    value = document
    walked = "$"
    for step in parse_path(path):
        if isinstance(step, int):
            if not isinstance(value, list) or not -len(value) <= step < len(value):
                raise MissingPath(f"{walked} has no element {step}")
            value = value[step]
            walked += f"[{step}]"
        else:
            if not isinstance(value, dict) or step not in value:
                raise MissingPath(f"{walked} has no field {step!r}")
            value = value[step]
            walked += f".{step}"
    return value


def same(one: object, other: object) -> bool:
    """Equality of JSON values: unlike Python, true is not 1 and false is not 0, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool) and one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(left, right) for left, right in zip(one, other, strict=True))
    return one == other
