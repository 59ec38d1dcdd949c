"""What is wrong with a replica set or its users is told before anything is changed."""

from __future__ import annotations

import pytest
from ansible_collections.linda.ops.plugins.filter.mongodb_other_account import mongodb_other_account
from ansible_collections.linda.ops.plugins.filter.mongodb_replset_problem import mongodb_replset_problem
from ansible_collections.linda.ops.plugins.filter.mongodb_users_problem import mongodb_users_problem

WORD = "kept-in-the-vault"
ADMIN = {"name": "admin", "password": WORD, "roles": ["root"]}


def test_a_good_description_has_no_problem() -> None:
    assert mongodb_replset_problem(["a", {"host": "b:1", "priority": 2}, "c"], "rs0") == ""
    assert mongodb_users_problem([ADMIN, {"name": "x", "database": "y", "password": WORD, "roles": []}], "admin") == ""


def test_a_user_whose_password_is_kept_elsewhere_is_no_problem() -> None:
    assert mongodb_users_problem([ADMIN, {"name": "x", "roles": ["read"]}], "admin") == ""


@pytest.mark.parametrize(
    ("members", "says"),
    [(["a", "b"], "is an even number"), (["a", "a", "b"], "more than once"), ([], "is empty"), (["a b"], "not a host name")],
)
def test_a_bad_set_is_told(members: list[str], says: str) -> None:
    assert says in mongodb_replset_problem(members, "rs0")


@pytest.mark.parametrize(
    ("users", "says"),
    [
        ([ADMIN, ADMIN], "admin.admin is listed more than once"),
        ([{**ADMIN, "roles": ["read"]}], "could not create the others"),
        ([{"name": "x", "password": WORD, "roles": [{"role": "read"}]}, ADMIN], "neither a name nor a mapping"),
        ([{"name": "x", "password": WORD}], "it must be the first"),
    ],
)
def test_bad_users_are_told_without_their_passwords(users: list[dict[str, object]], says: str) -> None:
    problem = mongodb_users_problem(users, "admin")
    assert says in problem
    assert WORD not in problem


@pytest.mark.parametrize(
    ("name", "other"), [("linda", "linda_next"), ("linda_next", "linda"), ("_next", "_next_next"), ("next", "next_next")]
)
def test_two_accounts_take_turns(name: str, other: str) -> None:
    assert mongodb_other_account(name) == other
    assert mongodb_other_account(other) == name


def test_a_bad_role_of_our_own_is_told() -> None:
    assert mongodb_users_problem([ADMIN], "admin", [{"name": "r", "roles": ["s"]}, {"name": "s"}]) == ""
    assert "r@admin > r@admin" in mongodb_users_problem([ADMIN], "admin", [{"name": "r", "roles": ["r"]}])
