"""The machines of a lab as containers: identity, start, readiness."""

import hashlib
import ipaddress
import json
import os
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from . import inventory
from .addresses import address
from .errors import LabError
from .fleet import CONTROLLER_NUMBER, MIRROR_NUMBER, Fleet, Host
from .podman import LABEL_CHECKOUT, LABEL_LAB, LABEL_ROLE, LABEL_SPEC, Container, Podman, resource_arguments
from .runner import Runner
from .state import CHECKOUT, State, write

_START = Path(__file__).parent / "machine" / "start.sh"
READY_SECONDS = 120.0


def container_name(state: State, host: str) -> str:
    """The container's name in podman."""
    return f"{state.name}-{host}"


def label_arguments(state: State, host: str, role: str, spec: str) -> list[str]:
    """Name and labels by which the lab knows its containers again."""
    labels = {LABEL_LAB: state.name, LABEL_ROLE: role, LABEL_CHECKOUT: str(CHECKOUT), LABEL_SPEC: spec}
    return [f"--name={container_name(state, host)}", *(f"--label={key}={value}" for key, value in labels.items())]


def give_identity(runner: Runner, state: State, host: Host, suite: str, block: ipaddress.IPv4Network, security: bool) -> str:
    """Write what the machine finds at its first start (host key, machine id, authorized key, apt sources); return its public host key."""
    directory = state.directory / "machines" / host.name
    directory.mkdir(parents=True, exist_ok=True)
    public = make_key(runner, directory / "ssh_host_ed25519_key", f"root@{host.name}")
    if not (directory / "machine-id").is_file():
        write(directory / "machine-id", secrets.token_hex(16) + "\n")
    write(directory / "authorized_keys", state.ssh_key.with_suffix(".pub").read_text(encoding="utf-8"))
    write(directory / "debian.sources", inventory.debian_sources(suite, block, security))
    return " ".join(public.split()[:2])


def make_key(runner: Runner, path: Path, comment: str) -> str:
    """Make an Ed25519 key without passphrase unless there is one; return its public half."""
    public = path.with_suffix(".pub")
    if not path.is_file() or not public.is_file():
        fresh = path.with_name(f".{path.name}.new")
        for leftover in (fresh, Path(f"{fresh}.pub"), path, public):
            leftover.unlink(missing_ok=True)
        runner.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", fresh], purpose="make an SSH key")
        Path(f"{fresh}.pub").rename(public)
        fresh.rename(path)
    return public.read_text(encoding="utf-8")


def start(podman: Podman, state: State, host: Host, image: str, block: ipaddress.IPv4Network, there: Container | None) -> None:
    """Bring the machine up: leave it alone if it runs, start it if it is stopped, make it if there is none."""
    if there and there.alive:
        return
    name = container_name(state, host.name)
    if there:
        if there.state in ("created", "exited") and podman.call("start", name, purpose=f"start {host.name}", check=False).code == 0:
            return
        podman.remove([name])
    arguments = [
        "--privileged",
        "--systemd=always",
        "--pull=never",
        "--no-hosts",
        f"--hostname={host.name}",
        "--shm-size=256m",
        *resource_arguments(),
        f"--network={state.name}",
        f"--ip={address(block, host.number)}",
        f"--volume={state.hosts_file}:/etc/hosts:ro",
        f"--volume={state.directory / 'machines' / host.name}:/run/identity:ro",
        image,
        "sh",
        "-c",
        _START.read_text(encoding="utf-8"),
        "start",
        address(block, CONTROLLER_NUMBER),
    ]
    spec = hashlib.sha256(json.dumps(arguments).encode()).hexdigest()[:16]
    podman.run(name, *label_arguments(state, host.name, "machine", spec), *arguments, purpose=f"start {host.name}")


def replace_if_changed(podman: Podman, state: State, role: str, spec: str, arguments: Sequence[str]) -> None:
    """Make sure that the mirror's container `role` runs and was made as `spec` says; anything else under its name is replaced."""
    name = container_name(state, role)
    for there in podman.containers(state.name):
        if there.name == name:
            if there.alive and there.spec == spec:
                return
            podman.remove([name])
    podman.run(name, *arguments, purpose=f"start the {role}")


def wait_until_ready(podman: Podman, state: State, host: Host, block: ipaddress.IPv4Network, deadline: float) -> str:
    """Wait until the machine admits its account over SSH and systemd has finished starting; return systemd's verdict with failed units."""
    where, look, ended = address(block, host.number), time.monotonic() + 10, 0
    while time.monotonic() < deadline:
        if not _port_open(where, 22):
            time.sleep(0.2)
            if time.monotonic() > look:
                look = time.monotonic() + 10
                ended += _start_if_dead(podman, state, host, last_time=ended > 0)
            continue
        remote = _REMOTE.format(mirror=address(block, MIRROR_NUMBER))
        done = podman.runner.run(
            ["ssh", "-F", state.ssh_config, "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", host.name, remote],
            check=False,
            timeout=READY_SECONDS,
        )
        if done.code == 3:
            raise LabError(
                f"{host.name} at {where} does not reach the lab's mirror, although both are on one bridge.",
                "A firewall of this machine drops bridged packets (Docker's may): allow them or set net.bridge.bridge-nf-call-iptables=0.",
            )
        if done.code == 0 and done.out.strip():
            return " ".join(done.out.split())
        if "REMOTE HOST IDENTIFICATION" in done.err or "Permission denied" in done.err:
            raise LabError(
                f"{host.name} at {where} is not the machine that this lab started.",
                f"Start the lab anew: lab down --name {state.name}, then lab up.",
                done.err,
            )
        time.sleep(0.3)
    raise LabError(
        f"{host.name} at {where} does not admit the account ansible over SSH within {READY_SECONDS:.0f} s.",
        f"Look at its journal: lab logs --name {state.name} {host.name}.",
    )


_REMOTE = """
timeout 10 bash -c '</dev/tcp/{mirror}/80' || exit 3
systemctl is-system-running --wait
systemctl --failed --plain --no-legend | cut -d' ' -f1
"""


def _start_if_dead(podman: Podman, state: State, host: Host, *, last_time: bool) -> bool:
    """Start a machine that has ended while it was starting, and return whether it had; raise LabError with its last words the last time.

    Once is no fault of the machine: after a crash of everything, podman's clearing up of a container's last life can end its next one.
    """
    name = container_name(state, host.name)
    if any(container.name == name and container.alive for container in podman.containers(state.name)):
        return False
    if last_time or podman.call("start", name, purpose=f"start {host.name} again", check=False).code != 0:
        words = podman.call("logs", "--tail=20", name, purpose="read the container's log", check=False)
        raise LabError(f"{host.name} ended while it was starting.", details=words.out + words.err)
    return True


def _port_open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def write_hosts_file(state: State, fleet: Fleet, block: ipaddress.IPv4Network) -> None:
    """Write /etc/hosts of the machines in place: running machines hold this very file."""
    text = inventory.hosts_file(fleet, block)
    path = state.hosts_file
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with path.open("r+" if path.exists() else "w", encoding="utf-8") as file:
            file.write(text)
            file.truncate()
            os.fsync(file.fileno())
    path.chmod(0o644)
