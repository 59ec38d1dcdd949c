"""Everything that is written about a lab for others to read: Ansible's inventory, hosts file, known hosts, ssh configuration. Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .addresses import address
from .fleet import CONTROLLER_NUMBER, MIRROR_NUMBER, Fleet, Host

_NOTE = "# Written by `lab up`; changes made here are lost.\n"


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as yamllint expects."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Never without indentation."""
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(data: object) -> str:
    return "---\n" + _NOTE + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=4096)


def hosts_yml(fleet: Fleet, hosts: Sequence[Host], block: ipaddress.IPv4Network, key: Path, known_hosts: Path) -> str:
    """Ansible's inventory of `hosts`. Every group of the fleet is in it, so that plays for a group without hosts find it empty."""
    options = f"-o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    variables = {
        "ansible_user": "ansible",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": options,
    }
    # By host, not for `all`: those would be variables of the implicit localhost too.
    machines: dict[str, Any] = {
        host.name: {"ansible_host": address(block, host.number), **variables, "fleet_address": address(block, host.number)}
        for host in hosts
    }
    groups: dict[str, Any] = {group: {"hosts": {host.name: {} for host in hosts if group in host.groups}} for group in fleet.groups}
    return _yaml({"all": {"hosts": machines, "children": groups}})


def generated_yml(
    lab: str, domain: str, block: ipaddress.IPv4Network, ca_directory: Path, key_armored: str, key_fingerprint: str, groups: Sequence[str]
) -> str:
    """Variables of all hosts that only the running lab knows; `groups` are those that have a machine, for a lab of a part of the fleet."""
    mirror = f"http://{address(block, MIRROR_NUMBER)}"
    return _yaml(
        {
            "fleet_name": lab,
            "fleet_domain": domain,
            "fleet_environment": "lab",
            "fleet_required_groups": list(groups),
            "fleet_admin_networks": [f"{address(block, CONTROLLER_NUMBER)}/32"],
            "lab_mirror_url": mirror,
            "mongodb_repository_url": f"{mirror}/apt",
            "mongodb_repository_key": key_armored,
            "mongodb_repository_key_fingerprint": key_fingerprint,
            "application_wheelhouse_url": f"{mirror}/wheelhouse/linda-lab-api",
            "certificates_ca_directory": str(ca_directory),
        }
    )


def hosts_file(fleet: Fleet, block: ipaddress.IPv4Network) -> str:
    """/etc/hosts of every machine: all hosts of the fleet (running or not) by full and short name, the mirror and the controller."""
    entries: list[tuple[int, tuple[str, ...]]] = [(CONTROLLER_NUMBER, ("controller",)), (MIRROR_NUMBER, ("mirror",))]
    entries += [(host.number, (host.name, *host.aliases)) for host in fleet.hosts.values()]
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for number, names in entries:
        lines.append(" ".join([address(block, number), *(f"{name}.{fleet.domain}" for name in names), *names]))
    return "\n".join(lines) + "\n"


def known_hosts(hosts: Sequence[Host], domain: str, block: ipaddress.IPv4Network, keys: Mapping[str, str]) -> str:
    """Pins the host key of each machine; `keys` maps host names to "ssh-ed25519 AAAA..."."""
    return "".join(f"{address(block, host.number)},{host.name},{host.name}.{domain} {keys[host.name]}\n" for host in hosts)


def ssh_config(hosts: Sequence[Host], domain: str, block: ipaddress.IPv4Network, key: Path, known: Path) -> str:
    """For `ssh -F`: each machine by its short and its full name."""
    lines = [_NOTE.rstrip()]
    for host in hosts:
        lines += [f"Host {host.name} {host.name}.{domain}", f"  HostName {address(block, host.number)}"]
    lines += ["Host *", "  User ansible", f'  IdentityFile "{key}"', "  IdentitiesOnly yes", f'  UserKnownHostsFile "{known}"']
    return "\n".join([*lines, "  GlobalKnownHostsFile /dev/null", "  StrictHostKeyChecking yes", "  LogLevel ERROR", ""])


def debian_sources(suite: str, block: ipaddress.IPv4Network, security: bool) -> str:
    """apt sources of a machine: Debian through the lab's mirror."""
    mirror = f"http://{address(block, MIRROR_NUMBER)}"
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    parts = [("debian", f"{suite} {suite}-updates")] + ([("debian-security", f"{suite}-security")] if security else [])
    return "\n".join(
        f"Types: deb\nURIs: {mirror}/{path}\nSuites: {suites}\nComponents: main\nSigned-By: {keyring}\n" for path, suites in parts
    )
