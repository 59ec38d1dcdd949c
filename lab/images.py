"""Images of the lab's machines: built by mmdebstrap, cached as tar archives by the digest of their recipe, imported into podman."""

import hashlib
import json
import os
import shlex
from pathlib import Path

from . import enclosure
from .console import Console
from .fleet import Image
from .podman import Podman
from .requirements import Archive
from .runner import Runner
from .state import in_turn

SCRIPT = Path(__file__).parent / "machine" / "image.sh"
_FORM = 1
"""Raise it when the way of building changes what comes out."""


def digest(image: Image, script: bytes) -> str:
    """Names what an image is made of: 16 hexadecimal digits."""
    recipe = json.dumps([_FORM, image.suite, sorted(image.packages), image.machine])
    return hashlib.sha256(recipe.encode() + (script if image.machine else b"")).hexdigest()[:16]


def tag(image: Image) -> str:
    """The image's name in podman's store."""
    return f"localhost/linda-lab/{image.name}:{digest(image, SCRIPT.read_bytes())}"


def provide(image: Image, cache: Path, podman: Podman, archive: Archive, console: Console) -> str:
    """Make sure that podman has the image, from the cache if it is there, and return its name in podman's store."""
    name = tag(image)
    if podman.has_image(name):
        return name
    with console.step(f"image {image.name}") as step, in_turn(cache / "locks" / f"image-{name.rpartition(':')[2]}", step.note):
        if podman.has_image(name):
            return name
        tarball = cache / "images" / f"{image.name}-{name.rpartition(':')[2]}.tar"
        if not tarball.exists():
            step.note(f"building from Debian {image.suite}")
            _build(image, tarball, podman.runner, archive)
        step.note("importing into podman")
        podman.call("import", "--quiet", tarball, name, purpose=f"import the image {image.name}")
    return name


def _build(image: Image, tarball: Path, runner: Runner, archive: Archive) -> None:
    """Build the image's archive; it gets its name only when it is complete."""
    tarball.parent.mkdir(parents=True, exist_ok=True)
    for leftover in tarball.parent.glob(f"{tarball.stem}.unfinished-*"):
        leftover.unlink()
    unfinished = tarball.with_suffix(f".unfinished-{os.getpid()}")
    scratch = enclosure.STORE / "build" / tarball.stem
    options = [f"--aptopt=Acquire::{scheme}::Proxy {json.dumps(proxy)}" for scheme, proxy in archive.proxies.items()]
    if image.machine:
        options.append(f'--customize-hook=sh {shlex.quote(str(SCRIPT))} "$1"')
    build = ["mmdebstrap", "--quiet", "--mode=root", "--format=tar", "--variant=minbase", f"--include={','.join(image.packages)}"]
    with unfinished.open("wb") as output:
        runner.run(
            enclosure.enter(
                [*_CONFINED, "sh", "-euc", _IN_SCRATCH, "sh", str(scratch), *build, *options, image.suite, "-", *archive.lines(image.suite)]
            ),
            root=True,
            stdout=output,
            purpose=f"build the image {image.name} from Debian's archive",
        )
    unfinished.rename(tarball)


_CONFINED = ("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Its own mount and process namespaces, which end with the command of the lab: an interrupted build leaves neither mounts nor processes."""

_IN_SCRATCH = """
scratch=$1
shift
mkdir -p "${scratch%/*}"
exec 9>"$scratch.lock"
flock 9
rm -rf --one-file-system "$scratch"
mkdir "$scratch"
TMPDIR=$scratch "$@"
rm -rf --one-file-system "$scratch"
"""
