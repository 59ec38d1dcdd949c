"""Who gets to which port: exactly those that were declared, in both families, and never without the administrators."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter.firewall_egress import firewall_egress
from ansible_collections.linda.ops.plugins.filter.firewall_problems import firewall_problems
from ansible_collections.linda.ops.plugins.filter.firewall_rules import firewall_rules
from ansible_collections.linda.ops.plugins.module_utils._firewall_plan import FirewallError, login_of, rules_of
from hypothesis import given
from hypothesis import strategies as st

ADMINS = ["192.0.2.0/24", "2001:db8:1::/48"]


def port(number: int = 443, *sources: str, proto: str = "tcp", role: str = "edge", name: str = "https") -> dict[str, Any]:
    return {"role": role, "name": name, "port": number, "proto": proto, "sources": list(sources) or ["0.0.0.0/0", "::/0"]}


addresses4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
addresses6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
networks = st.one_of(
    st.tuples(addresses4, st.integers(0, 32)).map(lambda pair: str(ipaddress.ip_network(pair, strict=False))),
    st.tuples(addresses6, st.integers(0, 128)).map(lambda pair: str(ipaddress.ip_network(pair, strict=False))),
)
sources = st.lists(networks, max_size=6)


@given(declared=st.dictionaries(st.tuples(st.sampled_from(["tcp", "udp"]), st.integers(1, 65535)), sources, max_size=5), data=st.data())
def test_who_gets_in_is_who_was_declared(declared: dict[tuple[str, int], list[str]], data: st.DataObject) -> None:
    ports = [port(number, proto=proto) | {"sources": listed} for (proto, number), listed in declared.items()]
    rules = rules_of(ports, ADMINS, [22])
    ends = [end for listed in [*declared.values(), ADMINS] for one in listed for end in _ends(one)]
    client = data.draw(st.one_of(addresses4, addresses6, *([st.sampled_from(ends)] if ends else [])))
    asked = data.draw(st.sampled_from([*declared, ("tcp", 22), ("udp", 22), ("tcp", 9)]))
    wanted = [*declared.get(asked, []), *(ADMINS if asked == ("tcp", 22) else [])]
    expected = any(client in ipaddress.ip_network(one) for one in wanted if ipaddress.ip_network(one).version == client.version)
    assert any(rule.admits(str(client), *asked) for rule in rules) == expected


def _ends(network: str) -> list[Any]:
    """Where mistakes of one show: the first and last address, and their neighbours."""
    whole = ipaddress.ip_network(network)
    kind, most = type(whole.network_address), 2**whole.max_prefixlen - 1
    numbers = [int(whole[0]) - 1, int(whole[0]), int(whole[-1]), int(whole[-1]) + 1]
    return [kind(number) for number in numbers if 0 <= number <= most]


@given(sources)
def test_networks_do_not_overlap(listed: list[str]) -> None:
    """An interval set of nftables refuses overlaps."""
    rule = rules_of([port() | {"sources": listed}], ADMINS, [22])[-1]
    for family in (rule.ipv4 or (), rule.ipv6 or ()):
        parsed = [ipaddress.ip_network(one) for one in family]
        assert not any(one.overlaps(other) for place, one in enumerate(parsed) for other in parsed[place + 1 :])


@pytest.mark.parametrize(
    ("given", "variable", "said"),
    [
        pytest.param({"administrators": []}, "fleet_admin_networks", "is empty, and nobody could log in any more", id="nobody"),
        pytest.param({"administrators": ["0.0.0.0/0"]}, "fleet_admin_networks", "has 0.0.0.0/0, which is everybody", id="everybody"),
        pytest.param({"administrators": ["192.0.2.1", "::/0"]}, "fleet_admin_networks", "has ::/0, which is everybody", id="everybody-6"),
        pytest.param({"admin_ports": []}, "firewall_admin_ports", "is empty, and nobody could log in any more", id="no-way-in"),
        pytest.param(
            {"ports": [port(80, name="http"), port(80, role="application", name="api")]},
            "firewall_ports",
            "gives 80/tcp to edge (http) and to application (api)",
            id="two-owners",
        ),
        pytest.param(
            {"connection": "198.51.100.7 50000 192.0.2.1 22"},
            "fleet_admin_networks",
            "does not hold 198.51.100.7, from which this run comes",
            id="from-outside",
        ),
        pytest.param(
            {"connection": "2001:db8:2::1 50000 ::1 22"},
            "fleet_admin_networks",
            "does not hold 2001:db8:2::1, from which this run comes",
            id="from-outside-6",
        ),
        pytest.param(
            {"connection": "192.0.2.7 50000 192.0.2.1 2222"},
            "firewall_admin_ports",
            "does not hold 2222, by which this run comes in",
            id="by-another-port",
        ),
    ],
)
def test_what_is_refused(given: dict[str, Any], variable: str, said: str) -> None:
    arguments: dict[str, Any] = {"ports": [], "administrators": ADMINS, "admin_ports": [22], **given}
    assert firewall_problems(**arguments) == {variable: said}
    with pytest.raises(AnsibleFilterError, match=re.escape(f"{variable} {said}.")):
        firewall_rules(**arguments)


def test_one_port_for_two_protocols_is_no_clash() -> None:
    assert len(rules_of([port(53, proto="udp"), port(53)], ADMINS, [22])) == 3


@pytest.mark.parametrize(
    ("connection", "login"),
    [
        ("192.0.2.7 50000 192.0.2.1 22", "192.0.2.7 22"),
        ("fe80::1%eth0 50000 fe80::2%eth0 22", "fe80::1 22"),
        ("::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22", "192.0.2.7 22"),
        ("", ""),
        ("UNKNOWN", ""),
    ],
)
def test_where_a_session_came_in(connection: str, login: str) -> None:
    assert login_of(connection) == login


def test_the_run_that_is_let_in_is_not_refused() -> None:
    rules = firewall_rules([port()], ADMINS, ["22"], "192.0.2.7 50000 192.0.2.1 22")
    assert [rule["name"] for rule in rules] == ["administrators 22", "edge https"]
    assert (rules[1]["ipv4"], rules[1]["ipv6"]) == (None, None)


def test_problems_come_all_at_once() -> None:
    with pytest.raises(FirewallError) as caught:
        rules_of([port(80), port(80)], [], [])
    assert set(caught.value.problems) == {"fleet_admin_networks", "firewall_admin_ports", "firewall_ports"}


def test_what_a_host_may_reach() -> None:
    (rule,) = firewall_egress([{"name": "resolvers", "port": 53, "to": ["192.0.2.53", "192.0.2.52/31"]}])
    assert rule == {"name": "resolvers", "proto": "tcp", "port": 53, "ipv4": ("192.0.2.52/31",), "ipv6": ()}
