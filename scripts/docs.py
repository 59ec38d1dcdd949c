#!/usr/bin/env python3
"""Write the variable table of every role's README from its argument specification.

The table stands between `<!-- variables -->` and `<!-- /variables -->`. With `--check` nothing is written and a README that
differs is an error: the argument specification is the documentation, the README repeats it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- variables -->", "<!-- /variables -->"


def cell(text: object) -> str:
    """One table cell: lines joined, pipes escaped."""
    parts = text if isinstance(text, list) else [text]
    return " ".join(" ".join(str(part).split()) for part in parts).replace("|", "\\|")


def shown_default(option: Mapping[str, Any]) -> str:
    """What the table says about the value an option has when nobody sets it."""
    if option.get("required"):
        return "**required**"
    if "default" not in option:
        return "not set"
    default = option["default"]
    text = yaml.safe_dump(default, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return f"`{cell(text)}`"


def shown_type(option: Mapping[str, Any]) -> str:
    """`list of dict`, `str`, ..., with the choices and whether it is a secret."""
    kind = str(option.get("type", "str"))
    if kind == "list":
        kind = f"list of {option.get('elements', 'any')}"
    if option.get("choices"):
        kind += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    return f"{kind}, secret" if option.get("no_log") else kind


def rows(options: Mapping[str, Mapping[str, Any]], prefix: str = "") -> Iterator[str]:
    """Table rows of the options, those of nested ones below their parent."""
    for name, option in options.items():
        yield f"| `{prefix}{name}` | {cell(shown_type(option))} | {shown_default(option)} | {cell(option.get('description', ''))} |"
        if option.get("options"):
            yield from rows(option["options"], f"{prefix}{name}{'[]' if option.get('type') == 'list' else ''}.")


def table(spec: Mapping[str, Any]) -> str:
    """The Markdown table of a role's `main` entry point."""
    options = spec["argument_specs"]["main"].get("options", {})
    return "\n".join(["| variable | type | default | what it does |", "|---|---|---|---|", *rows(options)])


def updated(readme: str, spec: Mapping[str, Any]) -> str:
    """The README with the present table between its two markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"has no {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{table(spec)}\n\n{END}{tail}"


def main() -> int:
    """Write or check the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the variable tables of the roles' READMEs.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a table is out of date")
    check = parser.parse_args().check
    stale = []
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        readme = path.parents[1] / "README.md"
        try:
            text = updated(readme.read_text(), yaml.safe_load(path.read_text()))
        except (OSError, ValueError) as error:
            print(f"{readme.relative_to(ROOT)}: {error}", file=sys.stderr)
            return 1
        if text != readme.read_text():
            stale.append(str(readme.relative_to(ROOT)))
            if not check:
                readme.write_text(text)
    for name in stale:
        print(f"{name}: {'out of date, run make docs' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
