"""Images of the lab's machines: built by mmdebstrap, cached as tar archives by the digest of their recipe, imported into podman."""

import hashlib
import json
import shlex
from pathlib import Path

from . import enclosure
from .console import Console
from .fleet import Image
from .podman import Podman, store
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
    with in_turn(cache / "locks" / f"image-{name.rpartition(':')[2]}"), console.step(f"image {image.name}") as step:
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
    unfinished = tarball.with_suffix(".unfinished")
    scratch = store() / "build" / tarball.stem
    runner.run(["rm", "-rf", "--one-file-system", scratch], root=True, purpose="clear the remains of an interrupted build")
    runner.run(["mkdir", "-p", scratch], root=True, purpose="make a directory for the build")
    options = [f"--aptopt=Acquire::{scheme}::Proxy {json.dumps(proxy)}" for scheme, proxy in archive.proxies.items()]
    if image.machine:
        options.append(f'--customize-hook=sh {shlex.quote(str(SCRIPT))} "$1"')
    # Its own mount namespace, and the end of the lab command is its end too: an interrupted build leaves neither mounts nor processes.
    # The keep-alive of a mount propagated elsewhere would outlive it, hence enclosure.enter.
    build = [
        "unshare",
        "--mount",
        "--kill-child=TERM",
        "--fork",
        "setpriv",
        "--pdeathsig=TERM",
        "env",
        f"TMPDIR={scratch}",
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--format=tar",
        "--variant=minbase",
        f"--include={','.join(image.packages)}",
        *options,
        image.suite,
        "-",
        *archive.lines(image.suite),
    ]
    with unfinished.open("wb") as output:
        runner.run(enclosure.enter(build), root=True, stdout=output, purpose=f"build the image {image.name} from Debian's archive")
    runner.run(["rm", "-rf", "--one-file-system", scratch], root=True, purpose="clear the build's directory")
    unfinished.rename(tarball)
