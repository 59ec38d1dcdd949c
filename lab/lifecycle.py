"""What `lab up` and `lab down` do, in order.

Every step looks first and does only what is missing, so that any wreck is a place to go on from.
"""

import contextlib
import hashlib
import ipaddress
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import addresses, depot, enclosure, images, inventory, machines, requirements, secret
from . import fleet as fleets
from .console import Console
from .errors import LabError
from .fleet import Fleet, Host
from .mirror import MirrorTree
from .parallel import side_by_side
from .podman import LABEL_CHECKOUT, LABEL_LAB, Container, Podman
from .runner import Runner
from .state import CHECKOUT, Record, State, alone, blocks_of_other_labs, cache_directory, in_turn, only_one, together, write

_PARALLEL = max(4, 2 * (os.cpu_count() or 2))


class Lab:
    """One lab of this checkout, and the means to work on it."""

    def __init__(self, name: str, console: Console) -> None:
        self.state = State(name)
        self.console = console
        self.runner = Runner()
        self.podman = Podman(self.runner, name)

    def containers(self) -> dict[str, Container]:
        """The lab's containers by container name; none if no lab runs on this machine."""
        if not enclosure.usable():
            return {}
        return {container.name: container for container in self.podman.containers(self.state.name)}

    def container_of(self, host: str) -> Container:
        """The running container of a host (or of the mirror), or LabError."""
        found = self.containers().get(machines.container_name(self.state, host))
        if found is None or not found.alive:
            raise LabError(
                f"There is no running host {host!r} in the lab {self.state.name}.", f"See what runs: lab status --name {self.state.name}."
            )
        return found


def up(lab: Lab, wanted: Sequence[str], fleet_file: Path | None, block: ipaddress.IPv4Network | None) -> None:
    """Bring the lab, or the part of it that `wanted` names, to life."""
    state, console = lab.state, lab.console
    record = state.read()
    if fleet_file is None and record is not None and record.fleet != fleets.DEFAULT_FILE:
        fleet_file = record.fleet
    fleet = fleets.load(fleet_file)
    chosen = fleet.select(wanted)
    lab.runner.require_root()
    state.create()
    with only_one(state.directory / "lock", f"Another command is at work on the lab {state.name}."), together(_in_namespace()):
        begun = time.monotonic()
        requirements.install(lab.runner, console)
        archive = requirements.archive(lab.runner)
        _enter(lab)
        network = _network(lab, record, block, (fleet_file or fleets.DEFAULT_FILE).resolve())
        there = _without_dead(lab)
        members = [host for host in fleet.hosts.values() if host in chosen or machines.container_name(state, host.name) in there]
        tags, tree = _provide(lab, fleet, members, archive)
        _write_down(lab, fleet, members, network, tree, archive)
        # Images may have taken minutes: has anybody come to our addresses since?
        own = frozenset({str(_own_network(lab)["network_interface"])})
        addresses.refuse_taken(state.name, network, addresses.taken_by_routes(_routes(lab.runner), own))
        with console.step("mirror"):
            depot.serve(lab.podman, state, network, tags["mirror"], tree, archive, cache_directory())
            _close_bridge(lab)
        _start(lab, chosen, tags, network, there)
        if not depot.answers(network):
            raise LabError("The lab's mirror does not answer.", f"See why: lab logs --name {state.name} mirror.")
        console.say(f"The lab {state.name} is up: {len(chosen)} of {len(fleet.hosts)} hosts in {time.monotonic() - begun:.0f} s.")
        console.say(_where_to_look(lab, chosen))


def _in_namespace() -> Path:
    """The lock that every command holds, together with others, while it needs the namespace that all labs share."""
    return cache_directory() / "locks" / "namespace"


def _enter(lab: Lab) -> None:
    """Get hold of the lab's containers: after a crash too, and after what it left running has ended."""
    enclosure.make(lab.runner)
    with lab.console.step("wait for what an interrupted command left running") as step:
        step.silent = True
        enclosure.settle(lab.runner, lab.state.name)
        lab.podman.end_strays()
    for container in lab.containers().values():
        if container.checkout != str(CHECKOUT):
            raise LabError(
                f"A lab named {lab.state.name} belongs to another checkout, {container.checkout}.",
                f"Take it down there, or give this lab another name: lab up --name {lab.state.name}2.",
            )


def _without_dead(lab: Lab) -> dict[str, Container]:
    """The lab's containers, after removal of those that podman believes in although their processes are gone."""
    there = lab.containers()
    dead = [container for container in there.values() if not container.alive and container.state not in ("created", "configured", "exited")]
    for container in dead:
        lab.console.say(f"  {container.name} died without podman's knowledge; it is made anew")
    lab.podman.remove([container.name for container in dead])
    return {name: container for name, container in there.items() if container not in dead}


def _network(lab: Lab, record: Record | None, wanted: ipaddress.IPv4Network | None, fleet_file: Path) -> ipaddress.IPv4Network:
    """The lab's network, made if it is missing; its addresses are chosen at the first start and kept."""
    state = lab.state
    if record and wanted and record.block != wanted:
        raise LabError(
            f"The lab {state.name} has the addresses {record.block} already.",
            f"To change them: lab down --name {state.name} --purge, then lab up with --block.",
        )
    with lab.console.step("network") as step, in_turn(cache_directory() / "locks" / "network", step.note):
        step.silent = True
        networks = lab.podman.networks()
        own = next((item for item in networks if item["name"] == state.name), None)
        taken = addresses.taken_by_routes(_routes(lab.runner), frozenset({str(own["network_interface"])} if own else set()))
        taken += addresses.taken_by_networks([item for item in networks if item is not own], "the lab")
        taken += addresses.taken_by_networks(_foreign_networks(), "podman's network")
        block = record.block if record else wanted or addresses.choose_block(state.name, taken + blocks_of_other_labs(state.name))
        addresses.refuse_taken(state.name, block, taken)
        state.write(Record(block, fleet_file))
        if own and own["subnets"][0]["subnet"] != str(block):
            _end(lab)
            own = None
        if own is None:
            gateway = addresses.address(block, fleets.CONTROLLER_NUMBER)
            labels = [f"--label={LABEL_LAB}={state.name}", f"--label={LABEL_CHECKOUT}={CHECKOUT}"]
            options = ["--internal", "--disable-dns", f"--subnet={block}", f"--gateway={gateway}", *labels]
            lab.podman.call("network", "create", *options, state.name, purpose="make the lab's network")
            own = _own_network(lab)
        bridge = f"lab{hashlib.sha256(f'{enclosure.STORE} {state.name}'.encode()).hexdigest()[:8]}"
        if own["network_interface"] != bridge and not _exists(lab, str(own["network_interface"])):
            lab.podman.name_bridge(own, bridge)
    return block


def _own_network(lab: Lab) -> dict[str, Any]:
    """The lab's network as podman describes it."""
    return next(network for network in lab.podman.networks() if network["name"] == lab.state.name)


def _exists(lab: Lab, interface: str) -> bool:
    return lab.runner.run(["ip", "link", "show", "dev", interface], check=False).code == 0


def _close_bridge(lab: Lab) -> None:
    """Let no packet of the lab through this machine, even if it forwards for others. The setting goes with the bridge."""
    bridge = str(_own_network(lab)["network_interface"])
    script = 'for family in ipv4 ipv6; do ! [ -d /proc/sys/net/$family ] || echo 0 >"/proc/sys/net/$family/conf/$1/forwarding"; done'
    lab.runner.run(["sh", "-euc", script, "sh", bridge], root=True, purpose="close the lab's bridge")


def _foreign_networks() -> list[dict[str, object]]:
    """What podman keeps of the networks of others on this machine."""
    found = []
    for path in sorted(Path("/etc/containers/networks").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def _routes(runner: Runner) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        runner.run(["ip", "-json", "-4", "route", "show", "table", "all"], purpose="read the routes").out or "[]"
    )
    return found


def _provide(lab: Lab, fleet: Fleet, hosts: Sequence[Host], archive: requirements.Archive) -> tuple[dict[str, str], MirrorTree]:
    """Images of the hosts and the mirror's tree, side by side; returns podman's names of the images by theirs, and the tree."""
    cache = cache_directory()
    if "mirror" not in fleet.images:
        raise LabError("The fleet has no image named mirror.", "Leave `images` out of the fleet file, or add it as lab/fleet.yml has it.")
    names = dict.fromkeys(["mirror", *(host.image for host in hosts)])
    with side_by_side(len(names) + 1) as pool:
        building = {name: pool.submit(images.provide, fleet.images[name], cache, lab.podman, archive, lab.console) for name in names}
        with lab.console.step("packages of the mirror") as step:
            tree = depot.prepare(fleet.recipes_for(hosts), cache, step.note)
        return {name: task.result() for name, task in building.items()}, tree


def _write_down(
    lab: Lab, fleet: Fleet, hosts: Sequence[Host], block: ipaddress.IPv4Network, tree: MirrorTree, archive: requirements.Archive
) -> None:
    """Keys, secrets, inventory and the other files about the lab."""
    state = lab.state
    machines.make_key(lab.runner, state.ssh_key, f"lab {state.name}")
    keys = {
        host.name: machines.give_identity(lab.runner, state, host, fleet.images[host.image].suite, block, bool(archive.security))
        for host in hosts
    }
    write(state.known_hosts, inventory.known_hosts(hosts, fleet.domain, block, keys))
    write(state.ssh_config, inventory.ssh_config(hosts, fleet.domain, block, state.ssh_key, state.known_hosts))
    machines.write_hosts_file(state, fleet, block)
    if state.name != addresses.DEFAULT_LAB:
        _copy_tracked(State(addresses.DEFAULT_LAB).inventory, state.inventory)
    write(state.inventory / "hosts.yml", inventory.hosts_yml(fleet, hosts, block, state.ssh_key, state.known_hosts), 0o644)
    groups = [group for group in fleet.groups if any(group in host.groups for host in hosts)]
    authority = state.directory / "ca"
    generated = inventory.generated_yml(state.name, fleet.domain, block, authority, tree.key_armored, tree.key_fingerprint, groups)
    write(state.inventory / "group_vars" / "all" / "generated.yml", generated, 0o644)
    secret.ensure(state)


_GENERATED = ("hosts.yml", "group_vars/all/generated.yml", "group_vars/all/vault.yml")


def _copy_tracked(source: Path, target: Path) -> None:
    """Give another lab the group variables of the default one, without what is generated."""
    for path in sorted(source.rglob("*.yml")):
        relative = path.relative_to(source)
        if str(relative) not in _GENERATED:
            write(target / relative, path.read_text(encoding="utf-8"), 0o644)


def _start(lab: Lab, chosen: Sequence[Host], tags: dict[str, str], block: ipaddress.IPv4Network, there: dict[str, Container]) -> None:
    """Start the machines side by side and wait until each is ready."""
    deadline = time.monotonic() + machines.READY_SECONDS + 5 * len(chosen)

    def bring(host: Host) -> tuple[str, str]:
        found = there.get(machines.container_name(lab.state, host.name))
        if found and found.image != tags[host.image]:
            lab.console.say(f"  {host.name} runs on an image of an older recipe; lab down and lab up give it the new one")
        machines.start(lab.podman, lab.state, host, tags[host.image], block, found)
        return host.name, machines.wait_until_ready(lab.podman, lab.state, host, block, deadline)

    with lab.console.step(f"machines: {' '.join(host.name for host in chosen)}") as step, side_by_side(_PARALLEL) as pool:
        for ready, (name, verdict) in enumerate(pool.map(bring, chosen), start=1):
            step.note(f"{ready} of {len(chosen)} ready")
            if not verdict.startswith("running"):
                lab.console.say(f"  {name} started, but not whole: {verdict}")


def _where_to_look(lab: Lab, chosen: Sequence[Host]) -> str:
    state = lab.state
    option = "" if state.name == addresses.DEFAULT_LAB else f" --name {state.name}"
    relative = state.inventory.relative_to(CHECKOUT)
    return "\n".join(
        [
            f"  log in      lab ssh{option} {chosen[0].name}",
            f"  see it      lab status{option}",
            f"  inventory   {relative}",
            f"  secrets     ansible-vault view --vault-password-file .lab/{state.name}/vault_password {relative}/group_vars/all/vault.yml",
            f"  configure   lab playbook{option} site.yml",
            f"  end it      lab down{option}",
        ]
    )


def down(lab: Lab, purge: bool) -> None:
    """End the lab: its containers, its network, and what they left on the machine. `purge`: its state and secrets too."""
    state, console = lab.state, lab.console
    if enclosure.traces():
        lab.runner.require_root()
        state.create()
        with only_one(state.directory / "lock", f"Another command is at work on the lab {state.name}."):
            with together(_in_namespace()):
                _enter(lab)
                with console.step(f"end the lab {state.name}"):
                    _end(lab)
            # Another command at work may be about to need the namespace; if it is a `down`, it removes it at its own end.
            with alone(_in_namespace()) as free:
                if free and enclosure.usable() and not lab.podman.containers() and not lab.podman.networks():
                    enclosure.remove(lab.runner)
    if purge:
        for relative in _GENERATED:
            (state.inventory / relative).unlink(missing_ok=True)
        shutil.rmtree(state.directory, ignore_errors=True)
        console.say(f"The lab {state.name} is gone with its keys and secrets. Images and packages stay cached in {cache_directory()}.")
    else:
        console.say(f"The lab {state.name} is down. Its keys and secrets stay in .lab/{state.name} (lab down --purge removes them).")


def _end(lab: Lab) -> None:
    """Remove the lab's containers, its network, and the bridge if a crash kept netavark from removing it."""
    record = lab.state.read()
    hosts = fleets.load(record.fleet).hosts if record and record.fleet.is_file() else ()
    # By name too: a killed podman leaves storage of containers that it never took note of.
    names = [machines.container_name(lab.state, host) for host in ("mirror", "uplink", *hosts)]
    lab.podman.remove([*names, *(container.id for container in lab.containers().values() if container.name not in names)])
    lab.podman.end_strays()
    for network in lab.podman.networks():
        if network["name"] == lab.state.name:
            lab.podman.call("network", "rm", "--force", lab.state.name, purpose="remove the lab's network")
            bridge = str(network["network_interface"])
            if _exists(lab, bridge):
                lab.runner.run(["ip", "link", "delete", bridge], root=True, purpose="remove the lab's bridge")
