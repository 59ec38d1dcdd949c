"""A thin, typed layer over the podman command, with a store of the lab's own: other people's containers are never seen nor touched."""

import json
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import enclosure
from .errors import LabError
from .runner import Done, Runner

LABEL_LAB = "linda.lab"
LABEL_ROLE = "linda.role"
LABEL_CHECKOUT = "linda.checkout"
LABEL_SPEC = "linda.spec"


@dataclass(frozen=True)
class Container:
    """A container of some lab. `state` is podman's word; `alive`: its first process really runs; `spec`: digest of how it was made."""

    id: str
    name: str
    lab: str
    role: str
    checkout: str
    spec: str
    image: str
    state: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether the first process exists and belongs to this container (podman believes in the dead after a crash of everything)."""
        if self.state not in ("running", "paused") or not self.pid:
            return False
        try:
            return self.id in Path(f"/proc/{self.pid}/cgroup").read_text(encoding="ascii")
        except OSError:
            return False


class Podman:
    """Calls podman as root inside the lab's namespace, on behalf of one lab."""

    def __init__(self, runner: Runner, lab: str) -> None:
        self.runner = runner
        self.lab = lab

    def argv(self, *words: str | Path) -> list[str]:
        """The command line of a podman call, to be started as root."""
        manager = "systemd" if Path("/run/systemd/system").is_dir() else "cgroupfs"
        return enclosure.enter(
            [
                "podman",
                f"--root={enclosure.STORE}/storage",
                f"--runroot={enclosure.RUN}/runroot",
                f"--tmpdir={enclosure.RUN / 'tmp'}",
                f"--network-config-dir={enclosure.STORE}/networks",
                f"--cgroup-manager={manager}",
                "--events-backend=none",
                *(str(word) for word in words),
            ]
        )

    def call(self, *words: str | Path, purpose: str, check: bool = True, timeout: float | None = None) -> Done:
        """Run podman; see Runner.run. While it runs the lab's work lock is held, whatever becomes of this process."""
        held = ["flock", "--shared", "--close", str(enclosure.work_lock(self.lab)), *self.argv(*words)]
        return self.runner.run(held, root=True, purpose=purpose, check=check, timeout=timeout)

    def containers(self, lab: str | None = None) -> list[Container]:
        """The containers of one lab, or of all labs on this machine."""
        chosen = LABEL_LAB if lab is None else f"{LABEL_LAB}={lab}"
        return [_container(item) for item in self._json("ps", "--all", "--filter", f"label={chosen}", "--format", "json")]

    def networks(self) -> list[dict[str, Any]]:
        """The networks of all labs on this machine, as podman describes them (name, labels, subnets, network_interface)."""
        return self._json("network", "ls", "--filter", f"label={LABEL_LAB}", "--format", "json")

    def name_bridge(self, network: dict[str, Any], bridge: str) -> None:
        """Give the bridge of a network that is not in use yet a name of its own.

        Podman numbers bridges (podman1 ...) by what it sees in its own store and on the machine at that moment, so that networks of two
        stores can end up on one bridge. The name is only to be had in the file where podman keeps the network.
        """
        file = enclosure.STORE / "networks" / f"{network['name']}.json"
        edit = ["sed", "--in-place", f's/"network_interface": "[^"]*"/"network_interface": "{bridge}"/', str(file)]
        self.runner.run(edit, root=True, purpose="name the bridge of the lab")
        network["network_interface"] = bridge

    def has_image(self, tag: str) -> bool:
        """Whether the store has the image."""
        return self.call("image", "exists", tag, purpose="look for an image", check=False).code == 0

    def run(self, name: str, *words: str, purpose: str) -> None:
        """Start a new container. Storage of that name, left by a podman that was killed before it noted the container, is cleared away."""
        if self.call("run", "--detach", *words, purpose=purpose, check=False).code != 0:
            self.remove([name])
            self.call("run", "--detach", *words, purpose=purpose)

    def remove(self, containers: Sequence[str]) -> None:
        """End containers at once and remove them; those that are gone already are no error."""
        if containers:
            self.call("rm", "--force", "--ignore", "--time", "0", "--volumes", *containers, purpose="remove containers")

    def end_strays(self) -> None:
        """End machines that run without podman's knowledge: it was killed between their start and its note of it.

        To be called while no command on the lab's containers is at work. What belongs to other labs is left alone.
        """
        keepers = _keepers()
        known = self.containers()
        foreign = {container.id for container in known if container.lab != self.lab}
        running = {container.id for container in known if container.alive}
        strays = [pid for pid, container in keepers.items() if container not in foreign | running]
        if strays:
            numbers = [str(pid) for pid in strays]
            self.runner.run(["pkill", "--signal", "KILL", "--parent", ",".join(numbers)], root=True, check=False)
            self.runner.run(["kill", "-KILL", *numbers], root=True, check=False)

    def _json(self, *words: str) -> list[dict[str, Any]]:
        text = self.call(*words, purpose="ask podman").out
        try:
            found = json.loads(text or "[]")
        except ValueError as error:
            raise LabError("Podman gave an answer that is not JSON.", details=text[:300]) from error
        return list(found or [])


def resource_arguments() -> list[str]:
    """Arguments about the resources of a container, all within what this machine lets the caller set.

    Podman itself lowers the number of processes to kernel.pid_max; without CAP_SYS_RESOURCE a container may not ask for more again.
    """
    pid_max = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    arguments = ["--pids-limit=-1"]
    if not Path("/run/systemd/system").is_dir():
        arguments.append(f"--cgroup-parent=/{enclosure.CGROUP}")
    for name, kind, ceiling in (("nofile", resource.RLIMIT_NOFILE, 1048576), ("nproc", resource.RLIMIT_NPROC, min(pid_max, 1048576))):
        hard = resource.getrlimit(kind)[1]
        value = ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)
        arguments.append(f"--ulimit={name}={value}:{value}")
    return arguments


def _keepers() -> dict[int, str]:
    """The conmon processes of the lab's store: process number to container."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith("/conmon") and f"{enclosure.STORE}/storage" in words and "-c" in words:
            found[int(directory.name)] = words[words.index("-c") + 1]
    return found


def _container(item: dict[str, Any]) -> Container:
    labels = item.get("Labels") or {}
    return Container(
        id=str(item["Id"]),
        name=str(item["Names"][0]),
        lab=str(labels.get(LABEL_LAB, "")),
        role=str(labels.get(LABEL_ROLE, "")),
        checkout=str(labels.get(LABEL_CHECKOUT, "")),
        spec=str(labels.get(LABEL_SPEC, "")),
        image=str(item.get("Image", "")),
        state=str(item.get("State", "")).lower(),
        pid=int(item.get("Pid") or 0),
        started=int(item.get("StartedAt") or 0),
    )
