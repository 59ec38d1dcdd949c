# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rendering a configuration tree on the controller, and saying where a template went wrong."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterator, Sequence

import jinja2
from ansible.errors import AnsibleError

Contents = dict[str, tuple[bytes, bool]]
"""Path below dest -> content, whether the source is executable."""

TEMPLATE_SUFFIX = ".j2"

_UNDEFINED = re.compile(r"'(\w+)' is undefined|has no attribute '(\w+)'")
_REFERENCE = re.compile(r"\{%-?\s*(?:include|import|from|extends)\s+['\"]([^'\"]+)['\"]")


def source_files(directory: str) -> Iterator[tuple[str, str]]:
    """Yield (path below dest, source file) of a template tree, sorted; the template suffix is dropped from the path."""
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            source = os.path.join(folder, name)
            yield os.path.relpath(source, directory).removesuffix(TEMPLATE_SUFFIX), source


def is_executable(source: str) -> bool:
    """Tell whether a source file is executable for its owner."""
    return bool(os.stat(source).st_mode & 0o100)


def explain(error: AnsibleError, source: str, text: str, find: Callable[[str], str | None]) -> str:
    """Return one message that names file, line and problem of a template that failed.

    ``source`` is the file and ``text`` its content, ``find`` returns the file of an included name. Ansible reports an undefined variable
    without its line, so the lines where the name is used are looked up in the file and in what it includes.
    """
    problem = str(error).removeprefix("Error rendering template: ")
    place = _line_of_cause(error, source)
    if place is None and (match := _UNDEFINED.search(problem)):
        place = _places_of_name(match[1] or match[2], source, text, find) or _places_behind(source, text, find, error)
    return f"{place or source}: {problem}"


def _line_of_cause(error: BaseException, source: str) -> str | None:
    """Where a syntax error or an exception in a template happened, from the chain of causes."""
    place = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, jinja2.TemplateSyntaxError):
            return f"{_file_of(cause.filename, source)}:{cause.lineno}"
        for frame, line in traceback.walk_tb(cause.__traceback__):
            template = frame.f_globals.get("__jinja_template__")
            if template is not None:
                place = f"{_file_of(template.filename, source)}:{template.get_corresponding_lineno(line)}"
        cause = cause.__cause__
    return place


def _file_of(name: str | None, source: str) -> str:
    return name if name and not name.startswith("<") else source


def _places_of_name(name: str, source: str, text: str, find: Callable[[str], str | None]) -> str | None:
    """The lines on which a template, or one it includes, uses a name: exact if there is one, else all of them."""
    for file, content in _with_includes(source, text, find):
        lines = lines_of_name(name, content)
        if lines:
            rest = f" (or line {', '.join(str(line) for line in lines[1:])})" if len(lines) > 1 else ""
            return f"{file}:{lines[0]}{rest}"
    return None


def _places_behind(source: str, text: str, find: Callable[[str], str | None], error: AnsibleError) -> str:
    """For a name that a variable uses, not the template: the file, and where that variable comes from."""
    origin = getattr(getattr(error, "obj", None), "_origin", None)
    return f"{source} (through a variable{f' set at {origin}' if origin else ''})"


def lines_of_name(name: str, text: str) -> list[int]:
    """Return the lines (from 1) of a template on which a name is used inside a Jinja expression or statement."""
    try:
        tokens = list(jinja2.Environment(autoescape=False).lex(text))  # noqa: S701 - nothing is rendered here
    except jinja2.TemplateSyntaxError:
        return []
    quoted = {f"'{name}'", f'"{name}"'}
    return sorted({line for line, kind, value in tokens if (kind == "name" and value == name) or (kind == "string" and value in quoted)})


def _with_includes(source: str, text: str, find: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[str, str]] = [(source, text)]
    seen = {source}
    while waiting:
        file, content = waiting.pop(0)
        yield file, content
        for name in _REFERENCE.findall(content):
            included = find(name)
            if included and included not in seen:
                seen.add(included)
                with open(included, encoding="utf-8", errors="replace") as stream:
                    waiting.append((included, stream.read()))


def finder(directories: Sequence[str]) -> Callable[[str], str | None]:
    """Return a function that finds an included template in the directories that Jinja searches."""

    def find(name: str) -> str | None:
        return next((path for directory in directories if os.path.isfile(path := os.path.join(directory, name))), None)

    return find
