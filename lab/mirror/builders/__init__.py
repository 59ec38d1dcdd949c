"""Builders turn the sources of a recipe into what the mirror serves.

A builder is a module of this package with one function, `build(context: Context) -> None`; a recipe names it (`builder: deb`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..recipe import Recipe


@dataclass(frozen=True)
class Context:
    """What a builder is handed.

    recipe: the recipe; sources: for each pinned source, in the recipe's order, a directory with its verified files (read only);
    work: an empty directory to build in; report: tells the person one line about what goes on.
    output: an empty directory to fill: `packages/*.deb` go into the apt repository, `www/**` is served as it is, and `files/**` is kept
    for the controller (not served).
    """

    recipe: Recipe
    sources: tuple[Path, ...]
    work: Path
    output: Path
    report: Callable[[str], None]
