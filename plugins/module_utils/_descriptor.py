# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Service descriptors: what a role on a host offers, read from `fleet_services`, and what consumers derive from them.

Pure: no I/O, standard library only. The format is described for people in docs/service-descriptor.md.
Every function that takes `hostvars` wants the shape of Ansible's variable of that name:
{host: {fleet_services: {role: descriptor}, fleet_address, ansible_host, group_names, fleet_admin_networks}}.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.linda.ops.plugins.module_utils._checks_spec import (
    CONTROLLER,
    NAME,
    NAME_WORDING,
    SELF,
    Check,
    parse_check,
)
from ansible_collections.linda.ops.plugins.module_utils._fields import Reader, closest, shown

ANY_NETWORKS = ("0.0.0.0/0", "::/0")
_GROUP = r"[A-Za-z_][A-Za-z0-9_-]*"
_DURATION = r"[1-9][0-9]*(s|m|h|d|w)"


class DescriptorError(ValueError):
    """One or more descriptors are wrong. `problems` holds one sentence each, naming host, role and field."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that others may reach. `sources` are the words of `from`, not yet resolved."""

    name: str
    port: int
    proto: str
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """An endpoint that answers in Prometheus' text format."""

    job: str
    port: int
    path: str
    scheme: str


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log: either a file or the journal of a unit."""

    name: str
    path: str | None
    unit: str | None
    format: str
    multiline_start: str | None


@dataclass(frozen=True, kw_only=True)
class Backup:
    """Data worth a backup: `what` (paths, or what `how` understands), `how` (the method), `every` (such as 6h)."""

    name: str
    what: tuple[str, ...]
    how: str
    every: str


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """Everything one role offers on one host."""

    host: str
    role: str
    ports: tuple[Port, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    logs: tuple[Log, ...] = ()
    backups: tuple[Backup, ...] = ()
    units: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    raw_checks: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Host:
    """What the derivations need to know about a host."""

    name: str
    address: str
    seen_at: str
    groups: tuple[str, ...]
    admin_networks: tuple[str, ...]
    services: Mapping[str, object]


def _is_network(word: str) -> bool:
    try:
        ipaddress.ip_network(word, strict=True)
    except ValueError:
        return False
    return True


def _port(raw: object, where: str, problems: list[str]) -> Port:
    reader = Reader(raw, where, problems)
    port = Port(
        name=reader.text("name", required=True, pattern=NAME, wording=NAME_WORDING),
        port=reader.port("port", required=True),
        proto=reader.text("proto", default="tcp", choices=("tcp", "udp")),
        sources=reader.texts("from", required=True),
    )
    for source in port.sources:
        if not re.fullmatch(_GROUP, source) and not _is_network(source):
            reader.complain("from", f"names {shown(source)}, which is neither any, admin, a group nor a network (192.0.2.0/24)")
    reader.finish()
    return port


def _metrics(raw: object, where: str, problems: list[str]) -> Metrics:
    reader = Reader(raw, where, problems)
    metrics = Metrics(
        job=reader.text("job", required=True, pattern=NAME, wording=NAME_WORDING),
        port=reader.port("port", required=True),
        path=reader.text("path", default="/metrics", pattern=r"/\S*", wording="a path that starts with /"),
        scheme=reader.text("scheme", default="http", choices=("http", "https")),
    )
    reader.finish()
    return metrics


def _log(raw: object, where: str, problems: list[str]) -> Log:
    reader = Reader(raw, where, problems)
    log = Log(
        name=reader.text("name", required=True, pattern=NAME, wording=NAME_WORDING),
        path=reader.optional_text("path", pattern=r"/\S+", wording="an absolute path"),
        unit=reader.optional_text("unit", pattern=r"\S+\.[a-z]+", wording="a unit with its suffix (nginx.service)"),
        format=reader.text("format", default="text", choices=("text", "json")),
        multiline_start=reader.regex("multiline_start"),
    )
    if reader.has("path") == reader.has("unit"):
        reader.complain("path", "or unit: give exactly one of them")
    reader.finish()
    return log


def _backup(raw: object, where: str, problems: list[str]) -> Backup:
    reader = Reader(raw, where, problems)
    backup = Backup(
        name=reader.text("name", required=True, pattern=NAME, wording=NAME_WORDING),
        what=reader.texts("what", required=True),
        how=reader.text("how", required=True, pattern=NAME, wording=NAME_WORDING),
        every=reader.text("every", required=True, pattern=_DURATION, wording="a duration (30m, 6h, 1d)"),
    )
    reader.finish()
    return backup


def _unique(where: str, what: str, names: Iterable[str], problems: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            problems.append(f"{where}: {what} has {name} twice")
        seen.add(name)


def parse_descriptor(host: Host, role: str, raw: object, problems: list[str]) -> Descriptor:
    """Read the descriptor of one role on one host; every problem is appended to `problems` with host, role and field."""
    where = f"host {host.name}, role {role}"
    reader = Reader(raw, where, problems)
    ports = tuple(_port(entry, f"{where}, ports[{i}]", problems) for i, entry in enumerate(reader.items("ports")))
    metrics = tuple(_metrics(entry, f"{where}, metrics[{i}]", problems) for i, entry in enumerate(reader.items("metrics")))
    logs = tuple(_log(entry, f"{where}, logs[{i}]", problems) for i, entry in enumerate(reader.items("logs")))
    backups = tuple(_backup(entry, f"{where}, backups[{i}]", problems) for i, entry in enumerate(reader.items("backups")))
    units = reader.texts("units")
    checks: list[Check] = []
    raw_checks: list[Mapping[str, object]] = []
    for index, entry in enumerate(reader.items("checks")):
        place = f"{where}, checks[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{place}: must be a mapping, not {shown(entry)}")
            continue
        for field in ("host", "role"):
            if field in entry:
                problems.append(f"{place}: {field} is filled in from where the descriptor stands, leave it out")
        filled = _filled(host, role, entry)
        check = parse_check(filled, place, problems)
        if check is not None:
            checks.append(check)
            raw_checks.append(filled | {"from": check.origin})
    reader.finish()
    _unique(where, "ports", (port.name for port in ports), problems)
    _unique(where, "metrics", (entry.job for entry in metrics), problems)
    _unique(where, "logs", (log.name for log in logs), problems)
    _unique(where, "backups", (backup.name for backup in backups), problems)
    _unique(where, "units", units, problems)
    _unique(where, "checks", (check.name for check in checks), problems)
    return Descriptor(
        host=host.name,
        role=role,
        ports=ports,
        metrics=metrics,
        logs=logs,
        backups=backups,
        units=units,
        checks=tuple(checks),
        raw_checks=tuple(raw_checks),
    )


def _filled(host: Host, role: str, raw: Mapping[str, object]) -> dict[str, object]:
    """A check with host, role and address filled in: the address other hosts use, or the one the controller uses."""
    filled = {str(key): value for key, value in raw.items() if value is not None}
    kind = filled.get("type")
    origin = filled.get("from", SELF if kind in ("unit", "argv") else CONTROLLER)
    filled.setdefault("address", host.address if origin == SELF else host.seen_at)
    return filled | {"host": host.name, "role": role}


def _text(variables: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = variables.get(name)
        if isinstance(value, str) and value:
            return str(value)
    return None


def read_host(name: str, variables: Mapping[str, object], problems: list[str]) -> Host:
    """What the derivations need of one host's variables; a host without `fleet_services` offers nothing."""
    services = variables.get("fleet_services")
    if services is None:
        services = {}
    if not isinstance(services, Mapping):
        problems.append(f"host {name}: fleet_services must be a mapping from role to descriptor, not {shown(services)}")
        services = {}
    groups = variables.get("group_names")
    networks = variables.get("fleet_admin_networks")
    return Host(
        name=str(name),
        address=_text(variables, "fleet_address", "ansible_host") or str(name),
        seen_at=_text(variables, "ansible_host", "fleet_address") or str(name),
        groups=tuple(str(group) for group in groups) if isinstance(groups, (list, tuple)) else (),
        admin_networks=tuple(str(network) for network in networks) if isinstance(networks, (list, tuple)) else (),
        services=services,
    )


def read_fleet(hostvars: Mapping[str, Mapping[str, object]]) -> tuple[list[Host], list[Descriptor]]:
    """All hosts and all their descriptors, both in the order of the inventory; raises DescriptorError with every problem."""
    problems: list[str] = []
    hosts = [read_host(name, hostvars[name], problems) for name in hostvars]
    descriptors = [parse_descriptor(host, str(role), raw, problems) for host in hosts for role, raw in host.services.items()]
    if problems:
        raise DescriptorError(problems)
    return hosts, descriptors


def ports_of(hostvars: Mapping[str, Mapping[str, object]], name: str) -> list[dict[str, object]]:
    """The ports of one host with the networks that may reach each.

    Returns [{role, name, port, proto, sources: [network, …]}] in the order of port number and protocol; `sources` is
    sorted, without repetition, every entry a network (a single address is a /32 or /128); `any` becomes both
    families' whole. Raises DescriptorError when the host, a group or an address is unknown.
    """
    hosts, descriptors = read_fleet(hostvars)
    own = next((host for host in hosts if host.name == name), None)
    if own is None:
        raise DescriptorError([f"host {name} is not in the inventory{closest(name, (host.name for host in hosts))}"])
    members: dict[str, list[Host]] = {}
    for host in hosts:
        for group in host.groups:
            members.setdefault(group, []).append(host)
    problems: list[str] = []
    found: list[dict[str, object]] = []
    for descriptor in descriptors:
        if descriptor.host != name:
            continue
        for port in descriptor.ports:
            where = f"host {name}, role {descriptor.role}, port {port.name}: from"
            networks: set[str] = set()
            for source in port.sources:
                networks.update(_resolve(source, own, members, where, problems))
            found.append(
                {
                    "role": descriptor.role,
                    "name": port.name,
                    "port": port.port,
                    "proto": port.proto,
                    "sources": sorted(networks, key=_network_order),
                }
            )
    if problems:
        raise DescriptorError(problems)
    return sorted(found, key=lambda entry: (entry["port"], entry["proto"], entry["role"], entry["name"]))


def _network_order(network: str) -> tuple[int, int, int]:
    parsed = ipaddress.ip_network(network)
    return (parsed.version, int(parsed.network_address), parsed.prefixlen)


def _resolve(source: str, own: Host, members: Mapping[str, list[Host]], where: str, problems: list[str]) -> list[str]:
    if source == "any":
        return list(ANY_NETWORKS)
    if source == "admin":
        if not own.admin_networks:
            problems.append(f"{where} says admin, but fleet_admin_networks is empty or not defined for this host")
        return _networks(own.admin_networks, f"{where} admin: fleet_admin_networks", problems)
    if _is_network(source):
        return [str(ipaddress.ip_network(source))]
    if source not in members:
        problems.append(f"{where} names the group {source}, in which the inventory has no host{closest(source, members)}")
        return []
    return _networks([host.address for host in members[source]], f"{where} {source}: the address of a member", problems)


def _networks(words: Iterable[str], where: str, problems: list[str]) -> list[str]:
    networks: list[str] = []
    for word in words:
        try:
            networks.append(str(ipaddress.ip_network(word, strict=True)))
        except ValueError:
            problems.append(f"{where} {shown(word)} is not an address or network")
    return networks


def scrape_targets_of(hostvars: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """What a metrics server has to read: [{job, scheme, path, targets: [{host, role, address}]}].

    `address` is `ip:port` (IPv6 in brackets) as other hosts of the fleet reach it. One entry for each job, scheme and
    path; entries and targets are sorted, so that a configuration rendered from them changes only when the fleet does.
    """
    hosts, descriptors = read_fleet(hostvars)
    addresses = {host.name: host.address for host in hosts}
    jobs: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for descriptor in descriptors:
        for entry in descriptor.metrics:
            target = {
                "host": descriptor.host,
                "role": descriptor.role,
                "address": with_port(addresses[descriptor.host], entry.port),
            }
            jobs.setdefault((entry.job, entry.scheme, entry.path), []).append(target)
    return [
        {
            "job": job,
            "scheme": scheme,
            "path": path,
            "targets": sorted(targets, key=lambda target: (target["host"], target["role"], target["address"])),
        }
        for (job, scheme, path), targets in sorted(jobs.items())
    ]


def with_port(address: str, port: int) -> str:
    """`address:port`, an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def checks_of(
    hostvars: Mapping[str, Mapping[str, object]], hosts: Iterable[str] | None = None, origin: str | None = None
) -> list[dict[str, object]]:
    """All checks of the fleet, or of some hosts, or of one origin, with host, role, from and address filled in.

    All descriptors are read and judged, also those of hosts and origins that are not asked for. Raises DescriptorError.
    """
    known, descriptors = read_fleet(hostvars)
    problems: list[str] = []
    wanted = [host.name for host in known] if hosts is None else [str(host) for host in hosts]
    problems += [f"host {name} is not in the inventory" for name in wanted if name not in {host.name for host in known}]
    if origin not in (None, CONTROLLER, SELF):
        problems.append(f"origin = {shown(origin)} is not one of {CONTROLLER}, {SELF}")
    if problems:
        raise DescriptorError(problems)
    return [
        dict(raw)
        for descriptor in descriptors
        if descriptor.host in wanted
        for check, raw in zip(descriptor.checks, descriptor.raw_checks, strict=True)
        if origin is None or check.origin == origin
    ]
