"""Builds wheelhouses: for each version of a Python application, a directory that pip can install it from without any package index.

Options in recipe.yml:
  wheelhouse.project   name of the application
  wheelhouse.versions  versions to build from the same source; each is written to the file VERSION of the source tree
The first source is the build backend (setuptools), the second the application's pinned requirements. The source tree of the application
is what the recipe's inputs name `application/...`.

Each `www/wheelhouse/<project>/<version>/` has the wheels, requirements.txt (everything pinned by version and hash, the application too)
and index.html: `pip install --no-index --find-links URL/ --require-hashes -r requirements.txt` installs it.
"""

import hashlib
import html
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ..process import MirrorError, run
from . import Context


def build(context: Context) -> None:
    """Write one wheelhouse for each version into the output."""
    options = context.recipe.options["wheelhouse"]
    project, (backend, dependencies) = str(options["project"]), context.sources
    for version in options["versions"]:
        context.report(f"building the wheel of version {version}")
        source = context.work / f"source-{version}"
        for relative, path in context.recipe.inputs.items():
            top, _, rest = relative.partition("/")
            if top == "application":
                (source / rest).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, source / rest)
                (source / rest).chmod(0o644)
        (source / "VERSION").write_text(f"{version}\n", encoding="utf-8")
        target = context.output / "www" / "wheelhouse" / project / version
        target.mkdir(parents=True)
        argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--find-links", str(backend)]
        # The wheel is the same on every build: zip files take their times from this, and their modes from the source tree.
        epoch = {"SOURCE_DATE_EPOCH": str(context.recipe.epoch)}
        run([*argv, "--wheel-dir", str(target), str(source)], environment=epoch, purpose=f"build the wheel of {project} {version}")
        for wheel in dependencies.iterdir():
            os.link(wheel, target / wheel.name)
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(target.iterdir())}
        (target / "requirements.txt").write_text(requirements(digests), encoding="utf-8")
        (target / "index.html").write_text(index(f"{project} {version}", digests), encoding="utf-8")


def requirements(digests: Mapping[str, str]) -> str:
    """Requirements file that pins each wheel (file name -> SHA-256, hexadecimal) by version and hash."""
    lines = []
    for name, digest in sorted(digests.items()):
        project, version = _identity(name)
        lines.append(f"{project}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def index(title: str, digests: Mapping[str, str]) -> str:
    """HTML page of links to the wheels, each with its hash, and to requirements.txt; pip reads it with --find-links."""
    links = [f'<li><a href="{html.escape(name)}#sha256={digest}">{html.escape(name)}</a></li>' for name, digest in sorted(digests.items())]
    body = "\n".join([*links, '<li><a href="requirements.txt">requirements.txt</a></li>'])
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><h1>{html.escape(title)}</h1>\n<ul>\n{body}\n</ul></body></html>\n'


def _identity(wheel: str) -> tuple[str, str]:
    """Project (normalised) and version in the file name of a wheel."""
    parts = Path(wheel).name.removesuffix(".whl").split("-")
    if len(parts) not in {5, 6} or not wheel.endswith(".whl"):
        raise MirrorError(f"{wheel} is not the file name of a wheel.")
    return parts[0].replace("_", "-").replace(".", "-").lower(), parts[1]
