"""The mirror of a lab as a running thing: the tree of lab.mirror and a caching pass-through to Debian, served on the lab's network."""

import hashlib
import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from .addresses import address
from .errors import LabError
from .fleet import MIRROR_NUMBER
from .machines import label_arguments, replace_if_changed
from .mirror import MirrorError, MirrorTree, available, build
from .podman import Podman, resource_arguments
from .requirements import Archive
from .state import State

_CONFIGURATION = Path(__file__).parent / "machine" / "mirror.conf"
_UPLINK = Path(__file__).with_name("uplink.py")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def prepare(recipes: Sequence[str], cache: Path, report: Callable[[str], None]) -> MirrorTree:
    """Build what the recipes name, unless it is cached, and return the tree to serve."""
    known = available()
    unknown = [name for name in recipes if name not in known]
    if unknown:
        raise LabError(
            f"The fleet asks for recipes that the mirror lacks: {', '.join(unknown)}.",
            f"Choose from {', '.join(known)}, or add one below lab/mirror/recipes.",
        )
    try:
        return build(recipes, cache, report)
    except MirrorError as error:
        raise LabError("The package mirror could not be built.", details=str(error)) from error


def serve(podman: Podman, state: State, block: ipaddress.IPv4Network, image: str, tree: MirrorTree, archive: Archive, cache: Path) -> None:
    """Start the two containers of the mirror, or leave them alone if they run as they should."""
    kept, socket = cache / "debian", state.directory / "uplink"
    kept.mkdir(parents=True, exist_ok=True)
    socket.mkdir(exist_ok=True)
    configuration = state.directory / "mirror.conf"
    _rewrite(configuration, _CONFIGURATION.read_text(encoding="utf-8"))
    program = state.directory / "uplink.py"
    _rewrite(program, _UPLINK.read_text(encoding="utf-8"))
    upstreams = {"debian": archive.debian} | ({"debian-security": archive.security} if archive.security else {})
    user = f"--user={os.getuid()}:{os.getgid()}"
    common = ["--privileged", user, "--pull=never", "--no-hosts", *resource_arguments()]

    authorities = [f"--volume={_AUTHORITIES}:{_AUTHORITIES}:ro"] if _AUTHORITIES.exists() else []
    uplink = [
        *common,
        "--network=host",
        f"--volume={socket}:/run/uplink",
        f"--volume={program}:/uplink.py:ro",
        "--volume=/etc/hosts:/etc/hosts:ro",
        *authorities,
        image,
        "python3",
        "/uplink.py",
        "/run/uplink/socket",
        json.dumps(upstreams),
        json.dumps(dict(archive.proxies)),
    ]
    mirror = [
        *common,
        f"--network={state.name}",
        f"--ip={address(block, MIRROR_NUMBER)}",
        "--sysctl=net.ipv4.ip_unprivileged_port_start=0",
        f"--volume={socket}:/run/uplink",
        f"--volume={kept}:/var/cache/debian",
        f"--volume={tree.root}:/srv/mirror:ro",
        f"--volume={configuration}:/etc/nginx/lab.conf:ro",
        image,
        "nginx",
        "-e",
        "stderr",
        "-c",
        "/etc/nginx/lab.conf",
    ]
    for role, arguments, texts in (("uplink", uplink, [program]), ("mirror", mirror, [configuration])):
        spec = hashlib.sha256(json.dumps([arguments, [text.read_text(encoding="utf-8") for text in texts]]).encode()).hexdigest()[:16]
        replace_if_changed(podman, state, role, spec, [*label_arguments(state, role, role, spec), *arguments])


def answers(block: ipaddress.IPv4Network) -> bool:
    """Whether the mirror serves, seen from this machine."""
    try:
        with urllib.request.urlopen(f"http://{address(block, MIRROR_NUMBER)}/key.asc", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _rewrite(path: Path, text: str) -> None:
    """Write in place: running containers hold this very file."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
