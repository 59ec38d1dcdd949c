"""What playbooks hand from role to role."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter.fleet_endpoints import fleet_endpoints
from ansible_collections.linda.ops.plugins.filter.mongodb_addresses import mongodb_addresses
from ansible_collections.linda.ops.plugins.filter.mongodb_members import mongodb_members
from ansible_collections.linda.ops.plugins.filter.mongodb_pool_checks import mongodb_pool_checks
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import MongodbPoolCheck, parse_checks

HTTP = {"ports": [{"name": "http", "port": 8000, "from": ["edge"]}]}
FLEET = {
    "edge1": {"fleet_address": "198.51.100.11", "group_names": ["edge"]},
    "api1": {"fleet_address": "198.51.100.21", "group_names": ["api"], "fleet_services": {"application": HTTP}},
    "api2": {"fleet_address": "2001:db8::22", "group_names": ["api"], "fleet_services": {"application": HTTP}},
}


def test_endpoints_come_from_the_descriptors_in_the_order_of_the_inventory() -> None:
    assert [row["address"] for row in fleet_endpoints(FLEET, "application", "http")] == ["198.51.100.21:8000", "[2001:db8::22]:8000"]
    assert fleet_endpoints(FLEET, "cache", "resp") == []


def test_a_port_that_the_role_does_not_offer_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"host api1, role application: has no port named https \(it has http\)"):
        fleet_endpoints(FLEET, "application", "https")


def test_members_carry_name_port_and_what_the_host_says() -> None:
    hostvars = {
        "mongo1": {"fleet_domain": "example.org", "mongodb_member": {"priority": 2}},
        "mongo2": {"fleet_domain": "example.org", "mongodb_port": 27018},
    }
    assert mongodb_members(["mongo1", "mongo2"], hostvars) == [
        {"host": "mongo1.example.org:27017", "priority": 2},
        {"host": "mongo2.example.org:27018"},
    ]


def test_pools_are_proved_at_each_member_that_serves_clients() -> None:
    hostvars = {
        "mongo1": {"ansible_host": "192.0.2.11", "mongodb_port": 27018, "mongodb_application_user": "linda"},
        "mongo2": {"mongodb_member": {"hidden": True}},
        "mongo3": {"mongodb_member": {"priority": 2}},
    }
    checks = mongodb_pool_checks(["mongo1", "mongo2", "mongo3"], hostvars, "192.0.2.21", min_size=5, processes=4)
    assert [(one["name"], one["address"], one["port"], one["user"]) for one in checks] == [
        ("mongodb-pool-mongo1", "192.0.2.11", 27018, "linda"),
        ("mongodb-pool-mongo3", "mongo3", 27017, "application"),
    ]
    first = parse_checks([{"host": "api1", "role": "application", **one} for one in checks])[0]
    assert isinstance(first, MongodbPoolCheck)
    assert (first.clients, first.min_size, first.max_size, first.processes) == (("192.0.2.21",), 5, 100, 4)


def test_a_member_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="host mongo1: mongodb_member must be a mapping"):
        mongodb_members(["mongo1"], {"mongo1": {"mongodb_member": 2}})


def test_addresses_of_members_need_no_names() -> None:
    hostvars = {"mongo1": {"fleet_address": "198.51.100.31"}, "mongo2": {"fleet_address": "2001:db8::32", "mongodb_port": "27018"}}
    assert mongodb_addresses(["mongo1", "mongo2"], hostvars) == ["198.51.100.31:27017", "[2001:db8::32]:27018"]
    with pytest.raises(AnsibleFilterError, match="host mongo3: fleet_address is not set"):
        mongodb_addresses(["mongo3"], {"mongo3": {}})
