"""Addresses of a lab: which /24 it gets, and whether somebody else is there already. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import LabError

RANGE = ipaddress.IPv4Network("198.18.0.0/15")
"""Set aside by RFC 2544 for tests between machines; never routed."""
DEFAULT_LAB = "linda"
DEFAULT_BLOCK = ipaddress.IPv4Network("198.18.10.0/24")
_FIRST_FREE = 20


@dataclass(frozen=True)
class Taken:
    """Addresses that are in use on this machine, and by what: `by` completes the sentence "... belongs to"."""

    network: ipaddress.IPv4Network
    by: str


def parse_block(text: str) -> ipaddress.IPv4Network:
    """The block of `--block`: a /24 inside 198.18.0.0/15."""
    try:
        block = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise LabError(f"The block {text!r} is not an IPv4 network: {error}.", "Give a /24 such as 198.18.30.0/24.") from error
    if block.prefixlen != 24 or not block.subnet_of(RANGE):
        raise LabError(
            f"The block {block} is not a /24 inside {RANGE}.",
            "Give a /24 such as 198.18.30.0/24; these addresses are set aside for tests.",
        )
    return block


def refuse_taken(lab: str, block: ipaddress.IPv4Network, taken: Iterable[Taken]) -> None:
    """Raise LabError if any of `taken` overlaps the block of the lab."""
    for other in taken:
        if other.network.overlaps(block):
            raise LabError(
                f"The addresses {block} of the lab {lab} are taken: {other.network} belongs to {other.by}.",
                f"Remove that, or give the lab other addresses: lab down --name {lab} --purge, then lab up with --block 198.19.N.0/24.",
            )


def choose_block(lab: str, taken: Sequence[Taken]) -> ipaddress.IPv4Network:
    """The block of a lab that has none yet: the fixed one for the default lab, the first free one for others."""
    if lab == DEFAULT_LAB:
        return DEFAULT_BLOCK
    for block in list(RANGE.subnets(new_prefix=24))[_FIRST_FREE:]:
        if not any(other.network.overlaps(block) for other in taken):
            return block
    raise LabError(f"All of {RANGE} is taken on this machine.", "Take down labs that nobody uses: lab down --name NAME --purge.")


def taken_by_routes(routes: Sequence[Mapping[str, object]], own_devices: frozenset[str]) -> list[Taken]:
    """What `ip -json -4 route show table all` says is in use, without the devices of the lab itself and without default routes."""
    found = []
    for route in routes:
        device = str(route.get("dev", ""))
        network = _network(route.get("dst"))
        if network is None or network.prefixlen == 0 or device in own_devices:
            continue
        found.append(Taken(network, f"a route of this machine (device {device or 'none'})"))
    return found


def taken_by_networks(configurations: Iterable[Mapping[str, Any]], owner: str) -> list[Taken]:
    """The subnets of podman networks (the JSON that podman keeps of each: name, subnets); `owner` says whose they are."""
    found = []
    for item in configurations:
        for subnet in item.get("subnets") or []:
            network = _network(subnet.get("subnet"))
            if network is not None:
                found.append(Taken(network, f"{owner} {item.get('name', '')}"))
    return found


def _network(text: object) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(str(text), strict=False)
    except ValueError:
        return None


def address(block: ipaddress.IPv4Network, number: int) -> str:
    """The address with the given number in a block."""
    return str(block.network_address + number)
