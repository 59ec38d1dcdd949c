"""What a description of users and roles may say, and how both sides are brought to one form."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_spec import (
    admits,
    inheritance_order,
    parse_custom_roles,
    parse_privileges,
    parse_users,
    privileges_document,
    restrictions_document,
    seen_restrictions,
)
from hypothesis import given
from hypothesis import strategies as st

WORD = "a-secret"
ANY = {"db": "x", "collection": ""}
FIND = {"resource": ANY, "actions": ["find"]}


def user(**more: Any) -> list[dict[str, Any]]:
    return [{"name": "a", **more}]


@pytest.mark.parametrize(
    ("code", "says", "users"),
    [
        ("bad_user", "the name is empty", [{"name": ""}]),
        ("bad_user", "the name is empty", [{"name": "a\0b"}]),
        ("bad_user", "cannot hold users", user(database="x.y")),
        ("bad_user", "cannot hold users", user(database="local")),
        ("bad_user", "the password is empty", user(password="")),
        ("bad_user", "SASLprep", user(password="a\x07" + WORD)),
        ("bad_user", "mechanisms = []", user(mechanisms=[])),
        ("bad_user", "mechanisms = ['GSSAPI']", user(mechanisms=["GSSAPI"])),
        ("bad_role", "role ''", user(roles=[""])),
        ("bad_role", "neither a name nor", user(roles=[{"role": "read"}])),
        ("bad_role", "neither a name nor", user(roles=[{"role": "read", "db": "x", "collection": "y"}])),
        ("bad_role", "role 3", user(roles=[3])),
        ("duplicate_user", "admin.a is listed", [{"name": "a"}, {"name": "a", "database": "admin"}]),
        ("bad_user", "password is given", [{"name": "CN=a", "database": "$external", "password": WORD}]),
        ("bad_user", "mechanisms is given", [{"name": "CN=a", "database": "$external", "mechanisms": ["SCRAM-SHA-1"]}]),
        ("bad_user", "RFC2253", [{"name": "application", "database": "$external"}]),
        ("bad_user", "RFC2253", [{"name": "/O=Example/CN=a", "database": "$external"}]),
        ("bad_user", "RFC2253", [{"name": "CN=a, O=Example", "database": "$external"}]),
        ("bad_user", "RFC2253", [{"name": "CN = a", "database": "$external"}]),
        ("bad_role", "needs its database", [{"name": "CN=a", "database": "$external", "roles": ["read"]}]),
        ("bad_restriction", "clientSource, serverAddress", user(authentication_restrictions=[{}])),
        ("bad_restriction", "clientSource, serverAddress", user(authentication_restrictions=[{"clientSources": ["10.0.0.0/8"]}])),
        ("bad_restriction", "clientSource = []", user(authentication_restrictions=[{"clientSource": []}])),
        ("bad_restriction", "10.0.0.5/8", user(authentication_restrictions=[{"clientSource": ["10.0.0.5/8"]}])),
        ("bad_restriction", "serverAddress = 'db1'", user(authentication_restrictions=[{"serverAddress": ["db1"]}])),
    ],
)
def test_bad_users_are_refused_by_name_of_the_field(code: str, says: str, users: list[dict[str, Any]]) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_users(users)
    assert caught.value.code == code
    assert says in caught.value.message
    assert WORD not in caught.value.message


@pytest.mark.parametrize(
    ("code", "says", "roles"),
    [
        ("bad_role", "the name is empty", [{"name": ""}]),
        ("bad_role", "cannot hold roles", [{"name": "r", "database": "$external"}]),
        ("duplicate_role", "r@admin", [{"name": "r"}, {"name": "r"}]),
        ("bad_privilege", "is not a mapping", [{"name": "r", "privileges": ["find"]}]),
        ("bad_privilege", "is not a mapping", [{"name": "r", "privileges": [{"resource": ANY}]}]),
        ("bad_privilege", "actions = []", [{"name": "r", "privileges": [{"resource": ANY, "actions": []}]}]),
        ("bad_privilege", "actions = 'find'", [{"name": "r", "privileges": [{"resource": ANY, "actions": "find"}]}]),
        ("bad_privilege", "resource = ", [{"name": "r", "privileges": [{"resource": {"db": "x"}, "actions": ["find"]}]}]),
        ("bad_privilege", "resource = ", [{"name": "r", "privileges": [{"resource": {"cluster": False}, "actions": ["find"]}]}]),
        ("bad_privilege", "resource = ", [{"name": "r", "privileges": [{"resource": {"cluster": True, **ANY}, "actions": ["find"]}]}]),
        ("bad_privilege", "its own database only", [{"name": "r", "database": "y", "privileges": [FIND]}]),
        (
            "bad_privilege",
            "its own database only",
            [{"name": "r", "database": "x", "privileges": [{"resource": {"cluster": True}, "actions": ["find"]}]}],
        ),
        ("bad_role", "cannot inherit read@x", [{"name": "r", "database": "y", "roles": [{"role": "read", "db": "x"}]}]),
        ("role_cycle", "r@admin > r@admin", [{"name": "r", "roles": ["r"]}]),
        ("role_cycle", "r@admin > s@admin > r@admin", [{"name": "r", "roles": ["s"]}, {"name": "s", "roles": ["r"]}]),
        ("role_in_use", "is to be absent", [{"name": "r", "roles": ["s"]}, {"name": "s", "state": "absent"}]),
        ("bad_restriction", "'any'", [{"name": "r", "authentication_restrictions": [{"clientSource": "any"}]}]),
    ],
)
def test_bad_roles_are_refused_by_name_of_the_field(code: str, says: str, roles: list[dict[str, Any]]) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_custom_roles(roles)
    assert caught.value.code == code
    assert says in caught.value.message


def test_a_bare_role_is_one_of_the_users_own_database() -> None:
    (found,) = parse_users(user(database="linda", roles=["read", {"role": "read", "db": "linda"}, {"role": "r", "db": "x"}]))
    assert found.roles == frozenset({("read", "linda"), ("r", "x")})


def test_the_same_name_in_two_databases_is_two_users_and_two_roles() -> None:
    both = [{"name": "a"}, {"name": "a", "database": "b"}]
    assert len(parse_users(both)) == len(parse_custom_roles(both)) == 2


@pytest.mark.parametrize("name", ["CN=a", "CN=a b,OU=clients,O=Example\\, Inc.,C=CH", "1.2.3.4=x,CN=a", "emailAddress=a@b,CN=a"])
def test_a_subject_as_rfc_2253_writes_it_is_a_name(name: str) -> None:
    assert parse_users([{"name": name, "database": "$external", "roles": []}])[0].name == name


def test_a_password_without_saslprep_is_good_for_sha_1_alone() -> None:
    assert parse_users(user(password="a\x07" + WORD, mechanisms=["SCRAM-SHA-1"]))


def test_omitted_is_untouched_and_empty_takes_all() -> None:
    (role,) = parse_custom_roles([{"name": "r"}])
    assert (role.privileges, role.roles, role.restrictions) == (None, None, None)
    (role,) = parse_custom_roles([{"name": "r", "privileges": [], "roles": [], "authentication_restrictions": []}])
    assert (role.privileges, role.roles, role.restrictions) == ({}, frozenset(), frozenset())


def test_privileges_on_one_resource_are_one() -> None:
    raw = [
        {"resource": ANY, "actions": ["find"]},
        {"resource": {"cluster": True}, "actions": ["top"]},
        {"resource": ANY, "actions": ["insert", "find"]},
    ]
    found = parse_privileges("Role r", raw)
    assert found == {("collection", "x", ""): frozenset({"find", "insert"}), ("cluster",): frozenset({"top"})}
    assert privileges_document(found or {}) == [
        {"resource": {"cluster": True}, "actions": ["top"]},
        {"resource": ANY, "actions": ["find", "insert"]},
    ]


RESOURCES = [ANY, {"db": "", "collection": "y"}, {"cluster": True}, {"anyResource": True}, {"db": "x", "system_buckets": "y"}]


@given(st.lists(st.tuples(st.sampled_from(RESOURCES), st.sets(st.sampled_from(["find", "insert", "top"]), min_size=1)), max_size=6))
def test_privileges_in_the_servers_form_are_read_back_the_same(pairs: list[tuple[dict[str, Any], set[str]]]) -> None:
    found = parse_privileges("r", [{"resource": resource, "actions": sorted(actions)} for resource, actions in pairs]) or {}
    assert parse_privileges("r", privileges_document(found)) == found


@pytest.mark.parametrize("nested", [False, True])
def test_restrictions_mean_the_same_however_they_are_written(nested: bool) -> None:
    described = parse_users(
        user(authentication_restrictions=[{"clientSource": ["127.0.0.1/32", "10.0.0.0/8", "2001:DB8::0:1"], "serverAddress": None}])
    )[0].restrictions
    stored: list[Any] = [{"clientSource": ["10.0.0.5/8", "2001:db8::1/128", "127.0.0.1"]}]
    # rolesInfo puts those of a role into a list of their own.
    assert seen_restrictions([stored] if nested else stored) == described
    assert restrictions_document(described or ()) == [{"clientSource": ["10.0.0.0/8", "127.0.0.1", "2001:db8::1"]}]


def test_one_restriction_that_fits_is_enough() -> None:
    found = seen_restrictions([{"clientSource": ["10.0.0.0/8"]}, {"clientSource": ["2001:db8::/32"]}])
    assert admits(found, "10.9.8.7")
    assert admits(found, "2001:db8::7")
    assert not admits(found, "192.0.2.1")
    assert admits((), "192.0.2.1")
    assert admits(seen_restrictions([{"serverAddress": ["10.0.0.1"]}]), "192.0.2.1")


def test_roles_come_after_those_they_inherit() -> None:
    order = inheritance_order({("c", "x"): [("b", "x")], ("a", "x"): [], ("b", "x"): [("a", "x"), ("read", "x")]})
    assert order == [("a", "x"), ("b", "x"), ("c", "x")]
