# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which connections a host takes: the ports that its services declare, and the administrators' way in. Pure.

What is not in the result is dropped. Both address families are treated alike; a rule that names no family's networks lets in nobody of it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ADMINISTRATORS = "administrators"


class FirewallError(ValueError):
    """What is asked for cannot be meant. `problems` says of each variable what is wrong with it, as the end of a sentence."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(" ".join(f"{variable} {problem}." for variable, problem in problems.items()))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A port and who may reach it. ``ipv4`` and ``ipv6`` are sorted networks without overlaps; None is everybody of that family."""

    name: str
    proto: str
    port: int
    ipv4: tuple[str, ...] | None
    ipv6: tuple[str, ...] | None

    def admits(self, address: str, proto: str, port: int) -> bool:
        """Tell whether a new connection from an address would pass by this rule."""
        source = ipaddress.ip_address(address)
        networks = self.ipv4 if source.version == 4 else self.ipv6
        inside = networks is None or any(source in ipaddress.ip_network(network) for network in networks)
        return inside and (proto, port) == (self.proto, self.port)


def rules_of(
    ports: Sequence[Mapping[str, Any]], administrators: Sequence[str], admin_ports: Sequence[int], login: str = ""
) -> tuple[Rule, ...]:
    """Return the rules of a host, the administrators' first.

    ``ports`` are what linda.ops.fleet_ports gives: [{role, name, port, proto, sources: [network, ...]}]. ``administrators`` are networks,
    ``admin_ports`` TCP ports that they always reach. ``login`` is where this very run came in, ``"address port"``, empty when not known.

    :raises FirewallError: see problems_of().
    """
    problems = problems_of(ports, administrators, admin_ports, login)
    if problems:
        raise FirewallError(problems)
    admins = [_rule(f"{ADMINISTRATORS} {port}", "tcp", port, administrators) for port in sorted(set(admin_ports))]
    services = [
        _rule(f"{entry['role']} {entry['name']}", entry.get("proto", "tcp"), int(entry["port"]), entry["sources"]) for entry in ports
    ]
    return (*admins, *services)


def problems_of(
    ports: Sequence[Mapping[str, Any]], administrators: Sequence[str], admin_ports: Sequence[int], login: str = ""
) -> dict[str, str]:
    """Return by variable what makes the inputs of rules_of() impossible; empty when nothing does.

    That is: administrators that are nobody or everybody, a port that two services claim, and rules that would shut out the run itself.
    """
    found: dict[str, str] = {}
    everybody = [network for network in administrators if ipaddress.ip_network(network).prefixlen == 0]
    address, _blank, port = login.partition(" ")
    if not administrators:
        found["fleet_admin_networks"] = "is empty, and nobody could log in any more"
    elif everybody:
        found["fleet_admin_networks"] = f"has {everybody[0]}, which is everybody"
    elif address and not any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in administrators):
        found["fleet_admin_networks"] = f"does not hold {address}, from which this run comes"
    if not admin_ports:
        found["firewall_admin_ports"] = "is empty, and nobody could log in any more"
    elif port and int(port) not in admin_ports:
        found["firewall_admin_ports"] = f"does not hold {port}, by which this run comes in"
    owners: dict[tuple[str, int], str] = {}
    for entry in ports:
        key, owner = (str(entry.get("proto", "tcp")), int(entry["port"])), f"{entry['role']} ({entry['name']})"
        if key in owners:
            found.setdefault("firewall_ports", f"gives {key[1]}/{key[0]} to {owners[key]} and to {owner}")
        owners.setdefault(key, owner)
    return found


def egress_of(entries: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Return the rules for what a host may reach itself; the networks of a rule are then those over there.

    ``entries`` are [{name, port, proto, to: [network, ...]}].
    """
    return tuple(_rule(str(entry["name"]), entry.get("proto", "tcp"), int(entry["port"]), entry["to"]) for entry in entries)


def login_of(connection: str) -> str:
    """Return ``"address port"`` of the client and of our side from sshd's ``SSH_CONNECTION``, empty for any other connection.

    The variable holds the client's address and port and the server's address and port (sshd(8), section "LOGIN PROCESS").
    """
    words = connection.split()
    if len(words) != 4:
        return ""
    address = ipaddress.ip_address(words[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"{mapped or address} {int(words[3])}"


def describe(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return rules for a template."""
    return [dataclasses.asdict(rule) for rule in rules]


def _rule(name: str, proto: str, port: int, sources: Iterable[str]) -> Rule:
    networks = [ipaddress.ip_network(source) for source in sources]
    return Rule(
        name=name,
        proto=proto,
        port=port,
        ipv4=_merged([network for network in networks if isinstance(network, ipaddress.IPv4Network)]),
        ipv6=_merged([network for network in networks if isinstance(network, ipaddress.IPv6Network)]),
    )


def _merged(networks: Sequence[Any]) -> tuple[str, ...] | None:
    """The same addresses without overlaps, which an nftables interval set does not take; None for all."""
    merged = list(ipaddress.collapse_addresses(networks))
    return None if any(network.prefixlen == 0 for network in merged) else tuple(str(network) for network in sorted(merged))
