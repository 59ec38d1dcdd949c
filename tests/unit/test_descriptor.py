"""Service descriptors: what is read, what is refused and how, and what the filters derive."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter.fleet_checks import fleet_checks
from ansible_collections.linda.ops.plugins.filter.fleet_ports import fleet_ports
from ansible_collections.linda.ops.plugins.filter.fleet_scrape_targets import fleet_scrape_targets
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import parse_checks
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError, Host, parse_descriptor
from hypothesis import given
from hypothesis import strategies as st

HOST = Host(name="edge1", address="198.18.10.11", seen_at="192.0.2.11", groups=("edge",), admin_networks=(), services={})
PORT = {"name": "https", "port": 443, "from": ["any"]}
LOG = {"name": "access", "path": "/var/log/a.log"}
BACKUP = {"name": "data", "what": ["/srv"], "how": "files", "every": "6h"}
CHECK = {"name": "open", "type": "tcp", "port": 443}


def parse(**descriptor: object) -> tuple[Any, list[str]]:
    problems: list[str] = []
    return parse_descriptor(HOST, "edge", descriptor, problems), problems


def test_missing_keys_mean_empty_lists() -> None:
    descriptor, problems = parse()
    assert problems == []
    parts = (descriptor.ports, descriptor.metrics, descriptor.logs, descriptor.backups, descriptor.units, descriptor.checks)
    assert parts == ((), (), (), (), (), ())


def test_everything() -> None:
    descriptor, problems = parse(
        ports=[PORT, {"name": "dns", "port": 53, "proto": "udp", "from": ["admin", "api", "192.0.2.0/24", "2001:db8::1"]}],
        metrics=[{"job": "nginx", "port": 9113}, {"job": "api", "port": 8000, "path": "/m", "scheme": "https"}],
        logs=[LOG, {"name": "app", "unit": "app.service", "format": "json", "multiline_start": r"^\d"}],
        backups=[BACKUP],
        units=["nginx.service"],
        checks=[CHECK],
    )
    assert problems == []
    assert descriptor.ports[1].proto == "udp"
    assert descriptor.metrics[0].path == "/metrics"
    assert descriptor.logs[1].unit == "app.service"
    assert descriptor.backups[0].what == ("/srv",)
    assert descriptor.checks[0].address == "192.0.2.11"


@pytest.mark.parametrize(
    ("descriptor", "problem"),
    [
        ({"port": []}, "port is not a known field here (did you mean ports?)"),
        ({"ports": {}}, "ports must be a list, not {}"),
        ({"ports": ["443"]}, "ports[0]: must be a mapping, not '443'"),
        ({"ports": [{**PORT, "name": None}]}, "ports[0]: name is missing"),
        ({"ports": [{**PORT, "name": "a b"}]}, "ports[0]: name = 'a b' is not a name"),
        ({"ports": [{**PORT, "port": 99999}]}, "ports[0]: port = 99999 is not in 1..65535"),
        ({"ports": [{**PORT, "port": "443"}]}, "ports[0]: port must be a whole number, not '443'"),
        ({"ports": [{**PORT, "proto": "sctp"}]}, "ports[0]: proto = 'sctp' is not one of tcp, udp"),
        ({"ports": [{**PORT, "from": None}]}, "ports[0]: from is missing"),
        ({"ports": [{**PORT, "from": []}]}, "ports[0]: from is empty"),
        ({"ports": [{**PORT, "from": "any"}]}, "ports[0]: from must be a list, not 'any'"),
        ({"ports": [{**PORT, "from": [5]}]}, "ports[0]: from[0] must be text, not 5"),
        ({"ports": [{**PORT, "from": ["192.0.2.7/24"]}]}, "ports[0]: from names '192.0.2.7/24'"),
        ({"ports": [{**PORT, "from": ["300.0.2.7"]}]}, "ports[0]: from names '300.0.2.7'"),
        ({"ports": [{**PORT, "form": ["any"]}]}, "ports[0]: form is not a known field here (did you mean from?)"),
        ({"ports": [PORT, PORT]}, "ports has https twice"),
        ({"metrics": [{"port": 1}]}, "metrics[0]: job is missing"),
        ({"metrics": [{"job": "a"}]}, "metrics[0]: port is missing"),
        ({"metrics": [{"job": "a", "port": 1, "path": "metrics"}]}, "metrics[0]: path = 'metrics' is not a path"),
        ({"metrics": [{"job": "a", "port": 1, "scheme": "ftp"}]}, "metrics[0]: scheme = 'ftp' is not one of http, https"),
        ({"metrics": [{"job": "a", "port": 1, "x": 1}]}, "metrics[0]: x is not a known field"),
        ({"metrics": [{"job": "a", "port": 1}, {"job": "a", "port": 2}]}, "metrics has a twice"),
        ({"logs": [{"name": "a"}]}, "logs[0]: path or unit: give exactly one"),
        ({"logs": [{**LOG, "unit": "a.service"}]}, "logs[0]: path or unit: give exactly one"),
        ({"logs": [{**LOG, "path": "var/log"}]}, "logs[0]: path = 'var/log' is not an absolute path"),
        ({"logs": [{"name": "a", "unit": "nginx"}]}, "logs[0]: unit = 'nginx' is not a unit"),
        ({"logs": [{**LOG, "format": "xml"}]}, "logs[0]: format = 'xml' is not one of text, json"),
        ({"logs": [{**LOG, "multiline_start": "("}]}, "logs[0]: multiline_start = '(' is not a regular expression"),
        ({"logs": [{**LOG, "name": ""}]}, "logs[0]: name is empty"),
        ({"logs": [LOG, LOG]}, "logs has access twice"),
        ({"backups": [{**BACKUP, "name": 1}]}, "backups[0]: name must be text, not 1"),
        ({"backups": [{**BACKUP, "what": "/srv"}]}, "backups[0]: what must be a list"),
        ({"backups": [{**BACKUP, "how": None}]}, "backups[0]: how is missing"),
        ({"backups": [{**BACKUP, "every": "daily"}]}, "backups[0]: every = 'daily' is not a duration"),
        ({"backups": [BACKUP, BACKUP]}, "backups has data twice"),
        ({"units": "nginx.service"}, "units must be a list"),
        ({"units": ["a.service", "a.service"]}, "units has a.service twice"),
        ({"checks": ["open"]}, "checks[0]: must be a mapping"),
        ({"checks": [{**CHECK, "type": "tpc"}]}, "checks[0] (open): type = 'tpc' is not one of"),
        ({"checks": [{**CHECK, "host": "x"}]}, "checks[0]: host is filled in"),
        ({"checks": [{**CHECK, "role": "x"}]}, "checks[0]: role is filled in"),
        ({"checks": [CHECK, CHECK]}, "checks has open twice"),
    ],
)
def test_what_is_refused(descriptor: dict[str, object], problem: str) -> None:
    _, problems = parse(**descriptor)
    assert any(problem in one for one in problems), problems
    assert all(one.startswith("host edge1, role edge") for one in problems)


def test_descriptor_that_is_none() -> None:
    problems: list[str] = []
    parse_descriptor(HOST, "edge", ["ports"], problems)
    assert problems == ["host edge1, role edge: must be a mapping, not ['ports']"]


def fleet() -> dict[str, dict[str, Any]]:
    """Two edges, two servers behind them, and a host that offers nothing."""

    def host(number: int, *groups: str, **services: object) -> dict[str, Any]:
        return {
            "ansible_host": f"192.0.2.{number}",
            "fleet_address": f"198.18.10.{number}",
            "fleet_admin_networks": ["203.0.113.0/24", "2001:db8::/32"],
            "group_names": list(groups),
            "fleet_services": services,
        }

    edge = {
        "ports": [{"name": "http", "port": 80, "from": ["any"]}, {**PORT, "from": ["any", "admin"]}],
        "metrics": [{"job": "nginx", "port": 9113}],
        "checks": [CHECK, {"name": "unit", "type": "unit", "unit": "nginx.service"}],
    }
    api = {
        "ports": [{"name": "http", "port": 8000, "from": ["edge", "monitoring", "192.0.2.99"]}],
        "metrics": [{"job": "api", "port": 8000}],
        "checks": [{"name": "ready", "type": "http", "url": "http://x:8000/readyz", "from": "self", "address": "127.0.0.1"}],
    }
    return {
        "edge2": host(12, "edge", edge=edge),
        "edge1": host(11, "edge", edge=edge),
        "api1": host(21, "api", application=api),
        "api2": host(22, "api", application=api, base={"checks": [{"name": "clock", "type": "argv", "argv": ["true"]}]}),
        "ops1": {"group_names": ["monitoring"], "fleet_address": "2001:db8:1::9"},
    }


class TestPorts:
    def test_sources_become_networks(self) -> None:
        assert fleet_ports(fleet(), "api1") == [
            {
                "role": "application",
                "name": "http",
                "port": 8000,
                "proto": "tcp",
                "sources": ["192.0.2.99/32", "198.18.10.11/32", "198.18.10.12/32", "2001:db8:1::9/128"],
            }
        ]

    def test_any_and_admin_in_the_order_of_ports(self) -> None:
        http, https = fleet_ports(fleet(), "edge1")
        assert (http["port"], http["sources"]) == (80, ["0.0.0.0/0", "::/0"])
        assert (https["port"], https["sources"]) == (443, ["0.0.0.0/0", "203.0.113.0/24", "::/0", "2001:db8::/32"])

    def test_host_without_services(self) -> None:
        assert fleet_ports(fleet(), "ops1") == []

    def test_unknown_host(self) -> None:
        with pytest.raises(AnsibleFilterError, match=r"host edge3 is not in the inventory \(did you mean edge[12]\?\)"):
            fleet_ports(fleet(), "edge3")

    def test_unknown_group(self) -> None:
        hosts = fleet()
        del hosts["ops1"]
        message = "host api1, role application, port http: from names the group monitoring, in which the inventory has no host"
        with pytest.raises(AnsibleFilterError, match=message):
            fleet_ports(hosts, "api1")

    def test_admin_without_networks(self) -> None:
        hosts = fleet()
        del hosts["edge1"]["fleet_admin_networks"]
        with pytest.raises(
            AnsibleFilterError, match="host edge1, role edge, port https: from says admin, but fleet_admin_networks is empty"
        ):
            fleet_ports(hosts, "edge1")
        assert fleet_ports(hosts, "edge2")

    @pytest.mark.parametrize("network", ["203.0.113.9/24", "office", ""])
    def test_admin_network_that_is_none(self, network: str) -> None:
        hosts = fleet()
        hosts["edge1"]["fleet_admin_networks"] = [network]
        with pytest.raises(AnsibleFilterError, match=r"fleet_admin_networks .* is not an address or network"):
            fleet_ports(hosts, "edge1")

    def test_member_whose_address_is_a_name(self) -> None:
        hosts = fleet()
        hosts["edge1"]["fleet_address"] = "edge1.linda.test"
        with pytest.raises(AnsibleFilterError, match=r"the address of a member 'edge1\.linda\.test' is not an address"):
            fleet_ports(hosts, "api1")

    def test_wrong_descriptor_of_another_host_is_refused_too(self) -> None:
        hosts = fleet()
        hosts["api2"]["fleet_services"]["application"] = {"ports": [{"name": "x", "port": 0, "from": ["any"]}]}
        message = r"host api2, role application, ports\[0\]: port = 0 is not in 1\.\.65535"
        with pytest.raises(AnsibleFilterError, match=message):
            fleet_ports(hosts, "edge1")
        with pytest.raises(AnsibleFilterError, match=message):
            fleet_scrape_targets(hosts)
        with pytest.raises(AnsibleFilterError, match=message):
            fleet_checks(hosts, ["edge1"])

    def test_services_that_are_no_mapping(self) -> None:
        with pytest.raises(AnsibleFilterError, match="host one: fleet_services must be a mapping from role to descriptor"):
            fleet_ports({"one": {"fleet_services": ["edge"]}}, "one")

    @given(st.lists(st.sampled_from(["any", "admin", "edge", "api", "10.0.0.0/8", "10.1.2.3", "::1"]), min_size=1, max_size=7))
    def test_sources_are_sorted_networks_and_independent_of_order(self, sources: list[str]) -> None:
        def derived(words: list[str]) -> list[str]:
            hosts = fleet()
            hosts["api1"]["fleet_services"]["application"]["ports"][0]["from"] = words
            (port,) = fleet_ports(hosts, "api1")
            found = port["sources"]
            assert isinstance(found, list)
            return found

        networks = derived(sources)
        assert networks == derived(sorted(sources, reverse=True))
        assert len(set(networks)) == len(networks)
        assert networks == sorted(networks, key=lambda word: (ipaddress.ip_network(word).version, ipaddress.ip_network(word)))
        assert ("0.0.0.0/0" in networks) == ("any" in sources)
        assert {"198.18.10.11/32", "198.18.10.12/32"} <= set(networks) or "edge" not in sources


class TestScrapeTargets:
    def test_by_job_and_sorted(self) -> None:
        found = fleet_scrape_targets(fleet())
        assert [entry["job"] for entry in found] == ["api", "nginx"]
        assert found[1] == {
            "job": "nginx",
            "scheme": "http",
            "path": "/metrics",
            "targets": [
                {"host": "edge1", "role": "edge", "address": "198.18.10.11:9113"},
                {"host": "edge2", "role": "edge", "address": "198.18.10.12:9113"},
            ],
        }

    def test_paths_apart_and_ipv6(self) -> None:
        hosts = {
            "a": {"fleet_address": "2001:db8::1", "fleet_services": {"r": {"metrics": [{"job": "j", "port": 1}]}}},
            "b": {"ansible_host": "192.0.2.1", "fleet_services": {"r": {"metrics": [{"job": "j", "port": 1, "path": "/x"}]}}},
        }
        first, second = fleet_scrape_targets(hosts)
        assert first["targets"] == [{"host": "a", "role": "r", "address": "[2001:db8::1]:1"}]
        assert second["targets"] == [{"host": "b", "role": "r", "address": "192.0.2.1:1"}]

    def test_order_of_the_inventory_does_not_matter(self) -> None:
        hosts = fleet()
        assert fleet_scrape_targets(hosts) == fleet_scrape_targets(dict(reversed(list(hosts.items()))))


class TestChecks:
    def test_filled_in(self) -> None:
        found = {(entry["host"], entry["name"]): entry for entry in fleet_checks(fleet())}
        assert len(found) == 7
        assert found["edge1", "open"] == {**CHECK, "host": "edge1", "role": "edge", "from": "controller", "address": "192.0.2.11"}
        assert found["edge1", "unit"]["from"] == "self"
        assert found["edge1", "unit"]["address"] == "198.18.10.11"
        assert found["api1", "ready"]["address"] == "127.0.0.1"

    def test_chosen_by_host_and_origin(self) -> None:
        def names(**more: Any) -> list[tuple[object, object]]:
            return [(entry["host"], entry["name"]) for entry in fleet_checks(fleet(), **more)]

        assert names(hosts=["api2"]) == [("api2", "ready"), ("api2", "clock")]
        assert names(origin="controller") == [("edge2", "open"), ("edge1", "open")]
        assert names(hosts=["edge1"], origin="self") == [("edge1", "unit")]
        assert names(hosts=[]) == []

    def test_what_is_asked_must_exist(self) -> None:
        with pytest.raises(AnsibleFilterError, match="host edge9 is not in the inventory"):
            fleet_checks(fleet(), hosts=["edge9"])
        with pytest.raises(AnsibleFilterError, match="origin = 'slef' is not one of"):
            fleet_checks(fleet(), origin="slef")

    def test_output_is_input_of_run_checks(self) -> None:
        raws = json.loads(json.dumps(fleet_checks(fleet())))
        assert len(parse_checks(raws)) == 7

    def test_addresses_fall_back(self) -> None:
        services = {"r": {"checks": [CHECK, {**CHECK, "name": "b", "from": "self"}]}}
        here, there = fleet_checks({"one": {"fleet_services": services, "fleet_address": "198.18.0.1"}})
        assert here["address"] == there["address"] == "198.18.0.1"
        here, there = fleet_checks({"one": {"fleet_services": services}})
        assert here["address"] == there["address"] == "one"

    def test_input_is_left_as_it_was(self) -> None:
        hosts = fleet()
        before = json.dumps(hosts)
        fleet_checks(hosts)
        fleet_ports(hosts, "api1")
        assert json.dumps(hosts) == before


def test_all_problems_come_at_once() -> None:
    hosts = {name: {"fleet_services": {"r": {"prots": [], "units": 5}}} for name in ("a", "b")}
    with pytest.raises(AnsibleFilterError) as caught:
        fleet_checks(hosts)
    assert str(caught.value).count("host a, role r") == 2
    assert str(caught.value).count("host b, role r") == 2


def test_error_carries_its_problems() -> None:
    assert DescriptorError(["a", "b"]).problems == ["a", "b"]
