"""Builds one Debian package from files of the sources and files of the recipe, without a Debian source package.

Options in recipe.yml:
  package.control    fields of the control file (Package, Architecture, Maintainer, Section, Description, ...)
  package.depends    dependencies that no program file shows
  package.libraries  shared library (soname) -> dependency that provides it on every suite the package is published for
  package.install    list of {from: path inside the unpacked sources, to: path in the package, mode}
  package.conffiles  configuration files that dpkg treats as the administrator's
  package.keep       paths in the package that the controller wants as well (copied to files/)
`files/` of the recipe is the tree of further files; `debian/` holds maintainer scripts and is copied into the control archive.
Packages of Debian among the sources are published beside the built one, as they are.
"""

import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..process import MirrorError, run
from . import Context

_NEEDED = re.compile(r"^\s+NEEDED\s+(\S+)$", re.MULTILINE)
_GLIBC = re.compile(r"\bGLIBC_(\d+)\.(\d+)\b")
_LIBC = {"libc.so.6", "libm.so.6", "libresolv.so.2", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2"}


def build(context: Context) -> None:
    """Write `packages/<name>_<version>_<architecture>.deb` into the output."""
    recipe, options = context.recipe, context.recipe.options["package"]
    unpacked, root = context.work / "sources", context.work / "root"
    packages = context.output / "packages"
    packages.mkdir()
    for source in (path for directory in context.sources for path in directory.iterdir()):
        if source.suffix == ".deb":
            shutil.copyfile(source, packages / source.name)
            continue
        with zipfile.ZipFile(source) as archive:
            archive.extractall(unpacked)
    for entry in options.get("install", []):
        _place(unpacked / entry["from"], root / entry["to"], int(entry.get("mode", "0644"), 8))
    for relative, path in recipe.inputs.items():
        top, _, rest = relative.partition("/")
        if top == "files":
            _place(path, root / rest, 0o644, copy=True)
        elif top == "debian":
            _place(path, root / "DEBIAN" / rest, 0o755, copy=True)
    depends = [*options.get("depends", []), *library_depends(_dynamic_sections(root), options.get("libraries", {}), recipe.name)]
    control = {**options["control"], "Version": recipe.version, "Depends": ", ".join(depends), "Installed-Size": str(_kibibytes(root))}
    (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (root / "DEBIAN" / "control").write_text(control_file(control), encoding="utf-8")
    if conffiles := options.get("conffiles", []):
        (root / "DEBIAN" / "conffiles").write_text("".join(f"{path}\n" for path in conffiles), encoding="utf-8")
    _settle(root, recipe.epoch)

    context.report("packaging")
    name = f"{control['Package']}_{recipe.version}_{control['Architecture']}.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--threads-max=1", "--build", str(root), str(packages / name)]
    run(argv, environment={"SOURCE_DATE_EPOCH": str(recipe.epoch)}, purpose=f"build the package {name}")
    for relative in options.get("keep", []):
        _place(root / relative, context.output / "files" / relative, (root / relative).stat().st_mode & 0o777)


def library_depends(dynamic_sections: Iterable[str], libraries: Mapping[str, str], recipe: str) -> list[str]:
    """Dependencies of programs, from what `objdump -p` prints for each.

    libc6 gets the newest symbol version that any of them asks for; every other library must be in `libraries` (soname -> dependency).
    That map, and not the build machine's library packages, decides: they have other names on other Debian releases.
    """
    needed: set[str] = set()
    glibc = (0, 0)
    for text in dynamic_sections:
        needed |= set(_NEEDED.findall(text))
        glibc = max([glibc, *((int(major), int(minor)) for major, minor in _GLIBC.findall(text))])
    wanted = needed - _LIBC
    if wanted != set(libraries):
        missing, idle = sorted(wanted - set(libraries)), sorted(set(libraries) - wanted)
        raise MirrorError(f"Recipe {recipe}: package.libraries lacks {missing or 'nothing'}; no program needs {idle or 'anything else'}.")
    found = [f"libc6 (>= {glibc[0]}.{glibc[1]})"] if needed & _LIBC else []
    return list(dict.fromkeys([*found, *(libraries[soname] for soname in sorted(wanted))]))


def control_file(fields: Mapping[str, Any]) -> str:
    """Text of a control file; further lines of the description are indented and blank ones become " ."."""
    lines = []
    for key, value in fields.items():
        first, *rest = str(value).rstrip("\n").split("\n")
        lines.append(f"{key}: {first}")
        lines += [f" {line}" if line.strip() else " ." for line in rest]
    return "\n".join(lines) + "\n"


def _place(source: Path, target: Path, mode: int, *, copy: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copyfile(source, target)
    else:
        source.rename(target)
    target.chmod(mode)


def _dynamic_sections(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                is_elf = stream.read(4) == b"\x7fELF"
            if is_elf:
                found.append(run(["objdump", "-p", str(path)], purpose=f"read the libraries that {path.name} needs"))
    return found


def _kibibytes(root: Path) -> int:
    return sum(-(-path.stat().st_size // 1024) for path in root.rglob("*") if path.is_file())


def _settle(root: Path, epoch: int) -> None:
    """Same modes for directories and same times for everything, whatever the umask and the clock of the build machine."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch))
