# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads fields out of untyped data and collects every problem instead of stopping at the first.

Pure: no I/O, standard library only, so that the same reader runs on the controller and on a managed host.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

_SHOWN = 60


def shown(value: object) -> str:
    """A value as it may stand in a message: its repr, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def closest(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)` for a word that looks like a known one, else an empty string."""
    matches = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]}?)" if matches else ""


class Reader:
    """Reads one mapping field by field.

    `where` names the place for people ("host edge1, role edge, checks[0] (https)"); `problems` is the list every
    complaint is appended to. Each method returns a value of its type, also after a complaint, so that reading goes on;
    callers use what they read only when `problems` is still empty. `finish` complains about fields nobody asked for.
    """

    def __init__(self, raw: object, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self._asked: set[str] = set()
        self._raw: Mapping[str, object] = {}
        if not isinstance(raw, Mapping):
            self.problems.append(f"{where}: must be a mapping, not {shown(raw)}")
        else:
            self._raw = {str(key): value for key, value in raw.items()}

    def complain(self, field: str, complaint: str) -> None:
        """Record that `field` is wrong."""
        self.problems.append(f"{self.where}: {field} {complaint}")

    def has(self, field: str) -> bool:
        """True when the field is there and not null."""
        self._asked.add(field)
        return self._raw.get(field) is not None

    def _take(self, field: str, required: bool) -> object:
        self._asked.add(field)
        value = self._raw.get(field)
        if value is None and required:
            self.complain(field, "is missing")
        return value

    def anything(self, field: str) -> object:
        """The value as it is, None when absent."""
        return self._take(field, False)

    def optional_text(
        self,
        field: str,
        *,
        required: bool = False,
        choices: Sequence[str] = (),
        pattern: str = "",
        wording: str = "",
        empty: bool = False,
    ) -> str | None:
        """A string or None. `pattern` must match whole; `wording` says what was expected."""
        value = self._take(field, required)
        if value is None:
            return None
        if not isinstance(value, str):
            self.complain(field, f"must be text, not {shown(value)}")
            return None
        if not value and not empty:
            self.complain(field, "is empty")
        elif choices and value not in choices:
            self.complain(field, f"= {shown(value)} is not one of {', '.join(choices)}{closest(value, choices)}")
        elif pattern and not re.fullmatch(pattern, value):
            self.complain(field, f"= {shown(value)} is not {wording}")
        else:
            return str(value)
        return None

    def text(
        self,
        field: str,
        *,
        required: bool = False,
        default: str = "",
        choices: Sequence[str] = (),
        pattern: str = "",
        wording: str = "",
    ) -> str:
        """A string, `default` when absent."""
        value = self.optional_text(field, required=required, choices=choices, pattern=pattern, wording=wording)
        return default if value is None else value

    def regex(self, field: str) -> str | None:
        """A regular expression of Python's `re`, as text, or None."""
        value = self.optional_text(field)
        return None if value is None or not self._is_regex(field, value) else value

    def _is_regex(self, field: str, value: str) -> bool:
        try:
            re.compile(value)
        except re.error as problem:
            self.complain(field, f"= {shown(value)} is not a regular expression: {problem}")
            return False
        return True

    def integer(self, field: str, *, required: bool = False, default: int = 0, low: int, high: int) -> int:
        """A whole number in low..high, `default` when absent."""
        value = self._take(field, required)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.complain(field, f"must be a whole number, not {shown(value)}")
        elif not low <= value <= high:
            self.complain(field, f"= {value} is not in {low}..{high}")
        else:
            return int(value)
        return default

    def port(self, field: str, *, required: bool = False, default: int = 0) -> int:
        """A port number, 1..65535."""
        return self.integer(field, required=required, default=default, low=1, high=65535)

    def number(self, field: str, *, default: float, low: float, high: float) -> float:
        """A number (seconds) in low..high, `default` when absent."""
        value = self._take(field, False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.complain(field, f"must be a number, not {shown(value)}")
        elif not low <= value <= high:
            self.complain(field, f"= {value} is not in {low:g}..{high:g}")
        else:
            return float(value)
        return default

    def boolean(self, field: str, *, default: bool) -> bool:
        """True or false, `default` when absent."""
        value = self._take(field, False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.complain(field, f"must be true or false, not {shown(value)}")
            return default
        return value

    def items(self, field: str, *, required: bool = False) -> list[object]:
        """A list of anything, empty when absent."""
        value = self._take(field, required)
        if value is None:
            return []
        if not isinstance(value, (list, tuple)):
            self.complain(field, f"must be a list, not {shown(value)}")
            return []
        if required and not value:
            self.complain(field, "is empty")
        return list(value)

    def texts(self, field: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of non-empty strings, empty when absent."""
        found: list[str] = []
        for index, value in enumerate(self.items(field, required=required)):
            if not isinstance(value, str) or not value:
                self.complain(f"{field}[{index}]", f"must be text, not {shown(value)}")
            else:
                found.append(str(value))
        return tuple(found)

    def integers(self, field: str, *, default: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
        """One whole number or a list of them, each in low..high, `default` when absent."""
        value = self._take(field, False)
        if value is None:
            return default
        listed = list(value) if isinstance(value, (list, tuple)) else [value]
        if not listed:
            self.complain(field, "is empty")
        found: list[int] = []
        for entry in listed:
            if isinstance(entry, bool) or not isinstance(entry, int) or not low <= entry <= high:
                self.complain(field, f"= {shown(value)} must be whole numbers in {low}..{high}")
                return default
            found.append(int(entry))
        return tuple(found)

    def mapping(self, field: str) -> dict[str, object]:
        """A mapping with text keys, empty when absent."""
        value = self._take(field, False)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.complain(field, f"must be a mapping, not {shown(value)}")
            return {}
        return {str(key): entry for key, entry in value.items()}

    def text_mapping(self, field: str, *, regex: bool = False) -> dict[str, str]:
        """A mapping from text to text, empty when absent; with `regex` every value must be a regular expression."""
        found: dict[str, str] = {}
        for key, value in self.mapping(field).items():
            if not isinstance(value, str):
                self.complain(f"{field}.{key}", f"must be text, not {shown(value)}")
            elif not regex or self._is_regex(f"{field}.{key}", value):
                found[key] = str(value)
        return found

    def finish(self) -> None:
        """Complain about every field that nobody asked for, with the closest known name."""
        for field in sorted(set(self._raw) - self._asked):
            self.complain(field, f"is not a known field here{closest(field, self._asked)}")
