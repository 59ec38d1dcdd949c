"""The command `lab`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import addresses, enclosure, lifecycle
from . import fleet as fleets
from .console import Console
from .errors import LabError
from .lifecycle import Lab
from .machines import container_name
from .state import CHECKOUT


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command of the lab and return its exit code: 0 done, 1 it failed, 2 it was called wrongly, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    console = Console()
    try:
        code: int = arguments.run(Lab(arguments.name, console), arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = f"the same command goes on from here, and lab down --name {arguments.name} clears everything"
        print(f"\nlab: interrupted; {again}.", file=sys.stderr, flush=True)
        os._exit(130)  # threads that wait for a program would hold the interpreter back
    except BrokenPipeError:
        os._exit(141)  # the reader of our output has gone, as with `lab status | head -1`
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description="A fleet of real Debian machines on this one: systemd containers with sshd and addresses of their own."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    up = _command(commands, "up", "start the fleet, or the named hosts and groups of it", _up)
    up.add_argument("wanted", nargs="*", metavar="HOST|GROUP", help="what to start (everything if nothing is named)")
    up.add_argument("--fleet", type=Path, metavar="FILE", help="another description of the fleet than lab/fleet.yml")
    up.add_argument(
        "--block", metavar="CIDR", help=f"addresses of a lab that is started for the first time, a /24 inside {addresses.RANGE}"
    )

    down = _command(commands, "down", "end the fleet; images, packages and secrets stay", _down)
    down.add_argument("--purge", action="store_true", help="remove the lab's keys, secrets and inventory as well")

    _command(commands, "status", "show the machines, their addresses and how long they run", _status)

    ssh = _command(commands, "ssh", "log in to a machine as the account that Ansible uses", _ssh)
    ssh.add_argument("host", metavar="HOST")
    ssh.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="a command to run there, options of ssh first")

    execute = _command(commands, "exec", "run a command on a machine as root, without SSH", _exec)
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command and its arguments")

    logs = _command(commands, "logs", "show the journal of a machine, or the log of `mirror`", _logs)
    logs.add_argument("host", metavar="HOST")
    logs.add_argument("--follow", "-f", action="store_true", help="go on as lines are written")
    logs.add_argument("--unit", "-u", help="only this systemd unit")
    logs.add_argument("--lines", "-n", type=int, default=200, help="how many lines from the end (200)")

    playbook = _command(commands, "playbook", "run ansible-playbook on the lab", _playbook)
    playbook.add_argument("playbook", metavar="PLAYBOOK", help="path of the playbook, from here or from the top of the checkout")
    playbook.add_argument("rest", nargs=argparse.REMAINDER, metavar="ARGS", help="passed on to ansible-playbook")
    return parser


def _command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, run: object) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "--name",
        default=addresses.DEFAULT_LAB,
        metavar="NAME",
        help=f"which lab ({addresses.DEFAULT_LAB}); labs of different names live side by side",
    )
    parser.set_defaults(run=run)
    return parser


def _up(lab: Lab, arguments: argparse.Namespace) -> int:
    block = addresses.parse_block(arguments.block) if arguments.block else None
    lifecycle.up(lab, arguments.wanted, arguments.fleet.resolve() if arguments.fleet else None, block)
    return 0


def _down(lab: Lab, arguments: argparse.Namespace) -> int:
    lifecycle.down(lab, arguments.purge)
    return 0


def _status(lab: Lab, arguments: argparse.Namespace) -> int:
    """Exit code 0 if every machine that the lab has is running, 1 otherwise."""
    record = lab.state.read()
    if record is None:
        print(f"The lab {lab.state.name} was never started here. Start it: lab up --name {lab.state.name}.")
        return 1
    fleet = fleets.load(record.fleet)
    there = lab.containers()
    print(f"lab {lab.state.name}, {record.block}, domain {fleet.domain}, cgroups of this machine: {enclosure.cgroup_layout()}")
    rows, whole = [("host", "address", "state", "for", "image", "groups")], bool(there)
    for name, number, image, groups in [
        ("mirror", fleets.MIRROR_NUMBER, "mirror", ()),
        *((h.name, h.number, h.image, h.groups) for h in fleet.hosts.values()),
    ]:
        container = there.get(container_name(lab.state, name))
        alive = container is not None and container.alive
        whole = whole and (alive or container is None)
        since = _age(time.time() - container.started) if container and alive else "-"
        word = "running" if alive else "not started" if container is None else "stopped"
        rows.append((name, addresses.address(record.block, number), word, since, image, " ".join(groups)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for place, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        print(lab.console.paint(line, "1" if place == 0 else "32" if row[2] == "running" else "2" if row[2] == "not started" else "31"))
    return 0 if whole else 1


def _age(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else f"{int(seconds)} s"


def _ssh(lab: Lab, arguments: argparse.Namespace) -> int:
    lab.container_of(arguments.host)
    return _become(["ssh", "-F", str(lab.state.ssh_config), arguments.host, *_without_dashes(arguments.rest)])


def _exec(lab: Lab, arguments: argparse.Namespace) -> int:
    command = _without_dashes(arguments.rest)
    if not command:
        raise LabError("There is no command to run.", f"Say which: lab exec {arguments.host} -- systemctl --failed")
    container = lab.container_of(arguments.host)
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return _become(lab.runner.argv(lab.podman.argv("exec", "--interactive", *terminal, container.name, *command), root=True))


def _logs(lab: Lab, arguments: argparse.Namespace) -> int:
    container = lab.container_of(arguments.host)
    follow = ["--follow"] if arguments.follow else []
    if container.role != "machine":
        return _become(lab.runner.argv(lab.podman.argv("logs", f"--tail={arguments.lines}", *follow, container.name), root=True))
    unit = [f"--unit={arguments.unit}"] if arguments.unit else []
    command = ["journalctl", "--no-pager", f"--lines={arguments.lines}", *follow, *unit]
    return _become(lab.runner.argv(lab.podman.argv("exec", container.name, *command), root=True))


def _playbook(lab: Lab, arguments: argparse.Namespace) -> int:
    playbook = Path(arguments.playbook)
    if not playbook.is_file():
        playbook = CHECKOUT / arguments.playbook
    if not playbook.is_file():
        raise LabError(
            f"There is no playbook {arguments.playbook}.", "Give a path from here or from the top of the checkout, such as site.yml."
        )
    if not (lab.state.inventory / "hosts.yml").is_file() or not lab.state.vault_password.is_file():
        raise LabError(f"The lab {lab.state.name} was never started here.", f"Start it: lab up --name {lab.state.name}.")
    os.environ.setdefault("ANSIBLE_CONFIG", str(CHECKOUT / "ansible.cfg"))
    program = Path(sys.executable).with_name("ansible-playbook")
    options = [
        "-i",
        str(lab.state.inventory),
        "--vault-password-file",
        str(lab.state.vault_password),
        str(playbook),
        *_without_dashes(arguments.rest),
    ]
    return _become([str(program) if program.exists() else "ansible-playbook", *options])


def _without_dashes(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _become(argv: list[str]) -> int:
    """Go on as another program, which gets the terminal and whose exit code is ours."""
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except FileNotFoundError as error:
        raise LabError(f"The program {argv[0]} is not installed.", "Run lab up, which installs what the lab needs.") from error
    return 1


if __name__ == "__main__":
    sys.exit(main())
