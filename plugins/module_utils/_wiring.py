# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook hands from one role to another: endpoints read from descriptors, members of a replica set, checks of pools. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError, read_fleet, with_port

MONGODB_PORT = 27017


def endpoints_of(hostvars: Mapping[str, Mapping[str, object]], role: str, port: str) -> list[dict[str, str]]:
    """Where a role's named port is offered: [{name, address}] in the order of the inventory.

    `name` is the host, `address` its `fleet_address` with the port (IPv6 in brackets). Hosts that do not offer the
    role are left out. Raises DescriptorError when a host offers the role without that port.
    """
    hosts, descriptors = read_fleet(hostvars)
    addresses = {host.name: host.address for host in hosts}
    found: list[dict[str, str]] = []
    problems: list[str] = []
    for descriptor in descriptors:
        if descriptor.role != role:
            continue
        number = next((entry.port for entry in descriptor.ports if entry.name == port), None)
        if number is None:
            names = ", ".join(entry.name for entry in descriptor.ports) or "none"
            problems.append(f"host {descriptor.host}, role {role}: has no port named {port} (it has {names})")
            continue
        found.append({"name": descriptor.host, "address": with_port(addresses[descriptor.host], number)})
    if problems:
        raise DescriptorError(problems)
    return found


def members_of(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """Members of a replica set for linda.ops.mongodb_replset: [{host: "name.domain:port", ...}], one a host, in order.

    The name is `inventory_hostname.fleet_domain`, the port the host's `mongodb_port` (else 27017); what a host sets in
    `mongodb_member` (priority, votes, hidden, tags, ...) is added.
    """
    members: list[dict[str, object]] = []
    for host in hosts:
        variables = hostvars[host]
        raw = variables.get("mongodb_member", {})
        if not isinstance(raw, Mapping):
            raise DescriptorError([f"host {host}: mongodb_member must be a mapping such as {{priority: 2}}"])
        name = f"{host}.{variables.get('fleet_domain', '')}".rstrip(".")
        members.append({"host": f"{name}:{variables.get('mongodb_port', MONGODB_PORT)}", **raw})
    return members


def addresses_of(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Where the members are reached whatever the names of the set resolve to: ["address:port", ...], one a host, in order.

    The address is the host's `fleet_address` (IPv6 in brackets), the port its `mongodb_port` (else 27017).
    """
    found: list[str] = []
    for host in hosts:
        address = hostvars[host].get("fleet_address")
        if not isinstance(address, str) or not address:
            raise DescriptorError([f"host {host}: fleet_address is not set"])
        found.append(with_port(address, int(str(hostvars[host].get("mongodb_port", MONGODB_PORT)))))
    return found


def pool_checks_of(
    hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, object]], client: str, **pool: object
) -> list[dict[str, object]]:
    """Checks of type mongodb_pool that prove the pool of the application at `client` (an address), one for each member that serves clients.

    `hosts` are the members; their `mongodb_port`, `mongodb_application_user` and `mongodb_monitor_user` are read where they differ from the
    defaults of the role. `pool` holds fields of the check (min_size, max_size, processes).
    """
    checks: list[dict[str, object]] = []
    for host in hosts:
        variables = hostvars[host]
        member = variables.get("mongodb_member", {})
        if isinstance(member, Mapping) and (member.get("hidden") or member.get("arbiter") or member.get("arbiter_only")):
            continue
        checks.append(
            {
                "name": f"mongodb-pool-{host.lower()}",
                "type": "mongodb_pool",
                "address": str(variables.get("ansible_host", host)),
                "port": variables.get("mongodb_port", MONGODB_PORT),
                "user": variables.get("mongodb_application_user", "application"),
                "clients": [client],
                "username": variables.get("mongodb_monitor_user", "monitor"),
                "password_variable": "mongodb_monitor_password",
                # A driver fills its pools in the background after the first operation.
                "retries": 10,
                **pool,
            }
        )
    return checks
