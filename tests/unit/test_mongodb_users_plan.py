"""The planner of mongodb_users and the SCRAM arithmetic it rests on."""

from __future__ import annotations

import base64
import itertools
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_scram import password_matches, saslprep, stored_key
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_plan import (
    Account,
    Observed,
    Step,
    User,
    UserKey,
    parse_users,
    picture,
    plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = frozenset({("root", "admin")})
LOGIN: UserKey = ("admin", "admin")
WORD = "a-secret"
ADMIN = User("admin", password=WORD, roles=ROOT)

# ---------------------------------------------------------------------------------------------------------------------- SCRAM


def test_scram_sha_256_agrees_with_rfc_7677() -> None:
    # RFC 7677, section 3: the server signature's counterpart is derived from this StoredKey.
    key = stored_key("SCRAM-SHA-256", "user", "pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert base64.b64encode(key).decode() == "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="


def test_scram_sha_1_hashes_the_user_into_the_password() -> None:
    salt = base64.b64decode("QSXCR+Q6sek8bf92")
    assert stored_key("SCRAM-SHA-1", "user", "pencil", salt, 4096) != stored_key("SCRAM-SHA-1", "other", "pencil", salt, 4096)


@pytest.mark.parametrize(
    ("text", "prepared"), [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")]
)
def test_saslprep_agrees_with_rfc_4013(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031"])
def test_saslprep_refuses_what_rfc_4013_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="SASLprep"):
        saslprep(text)


def credentials(user: str, password: str, *mechanisms: str) -> dict[str, Any]:
    salt = b"0123456789abcdef"
    return {
        name: {
            "iterationCount": 1000,
            "salt": base64.b64encode(salt).decode(),
            "storedKey": base64.b64encode(stored_key(name, user, password, salt, 1000)).decode(),
        }
        for name in mechanisms
    }


@pytest.mark.parametrize("mechanisms", [("SCRAM-SHA-1",), ("SCRAM-SHA-256",), ("SCRAM-SHA-1", "SCRAM-SHA-256")])
def test_a_password_is_recognised_and_another_is_not(mechanisms: tuple[str, ...]) -> None:
    stored = credentials("u", "right", *mechanisms)
    assert password_matches("u", "right", stored) is True
    assert password_matches("u", "wrong", stored) is False


def test_without_credentials_nothing_is_claimed() -> None:
    assert password_matches("u", "p", {}) is None
    assert password_matches("u", "p", {"external": True}) is None
    assert password_matches("u", "p", {"SCRAM-SHA-256": {"salt": "%"}}) is None


# ---------------------------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("code", "users"),
    [
        ("bad_user", [{"name": ""}]),
        ("bad_user", [{"name": "a\0b"}]),
        ("bad_user", [{"name": "a", "database": "x.y"}]),
        ("bad_user", [{"name": "a", "database": "local"}]),
        ("bad_user", [{"name": "a", "password": ""}]),
        ("bad_role", [{"name": "a", "roles": [""]}]),
        ("bad_role", [{"name": "a", "roles": [{"role": "read"}]}]),
        ("bad_role", [{"name": "a", "roles": [{"role": "read", "db": "x", "collection": "y"}]}]),
        ("bad_role", [{"name": "a", "roles": [3]}]),
        ("duplicate_user", [{"name": "a"}, {"name": "a", "database": "admin"}]),
    ],
)
def test_bad_descriptions_are_refused(code: str, users: list[dict[str, Any]]) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_users(users)
    assert caught.value.code == code


def test_a_bare_role_is_one_of_the_users_own_database() -> None:
    (user,) = parse_users(
        [{"name": "a", "database": "linda", "roles": ["read", {"role": "read", "db": "linda"}, {"role": "r", "db": "x"}]}]
    )
    assert user.roles == {("read", "linda"), ("r", "x")}


def test_the_same_name_in_two_databases_is_two_users() -> None:
    assert len(parse_users([{"name": "a"}, {"name": "a", "database": "b"}])) == 2


# ----------------------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize(
    ("code", "users", "observed", "login"),
    [
        ("first_user_missing", [User("app", password=WORD, roles=ROOT)], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", roles=ROOT)], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", password=WORD, state="absent")], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", password=WORD, roles=frozenset({("read", "admin")}))], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", "x", password=WORD, roles=frozenset({("dbOwner", "x")}))], Observed(None), ("x", "admin")),
        ("password_missing", [User("app", roles=frozenset())], Observed({LOGIN: Account(ROOT)}), LOGIN),
        ("drops_login_user", [User("admin", state="absent")], Observed({LOGIN: Account(ROOT)}), LOGIN),
        ("locks_out_login_user", [User("admin", roles=frozenset())], Observed({LOGIN: Account(ROOT)}), LOGIN),
        ("unknown_role", [User("a", password=WORD, roles=frozenset({("raed", "x")}))], Observed({}, frozenset({("read", "x")})), None),
    ],
)
def test_what_would_go_wrong_is_refused_before_the_first_write(code: str, users: list[User], observed: Observed, login: UserKey) -> None:
    with pytest.raises(MongodbError) as caught:
        plan(users, observed, login)
    assert caught.value.code == code


def test_the_first_user_is_the_one_we_log_in_with_wherever_it_is_listed() -> None:
    users = [User("app", password=WORD, roles=frozenset()), ADMIN]
    steps = plan(users, Observed(None), LOGIN)
    assert [(step.user.name, step.first) for step in steps] == [("admin", True), ("app", False)]
    assert "localhost exception" in steps[0].describe()["reason"]


def test_roles_left_out_are_untouched_and_an_empty_list_takes_all() -> None:
    observed = Observed({("admin", "app"): Account(frozenset({("read", "x")}))})
    assert plan([User("app")], observed, LOGIN) == []
    (step,) = plan([User("app", roles=frozenset())], observed, LOGIN)
    assert step.changes == ("roles",)


@pytest.mark.parametrize(
    ("matches", "mode", "changes"),
    [(True, "always", []), (False, "always", [("password",)]), (None, "always", []), (False, "on_create", [])],
)
def test_a_password_is_replaced_only_when_it_differs(matches: bool | None, mode: str, changes: list[tuple[str, ...]]) -> None:
    observed = Observed({("admin", "app"): Account(password_matches=matches)})
    assert [step.changes for step in plan([User("app", password=WORD, update=mode)], observed, LOGIN)] == changes


def test_nothing_that_is_shown_holds_a_password() -> None:
    users = [ADMIN, User("app", password=WORD, roles=ROOT)]
    observed = Observed({LOGIN: Account(ROOT, password_matches=False)})
    steps = plan(users, observed, LOGIN)
    shown = repr([steps, [step.describe() for step in steps], picture(users, observed.accounts, steps), users])
    assert "secret" not in shown
    before, after = picture(users, observed.accounts, steps)
    assert before == {"admin.admin": {"password": "(kept)", "roles": ["root@admin"]}}
    assert after["admin.admin"] == {"password": "(replaced)", "roles": ["root@admin"]}


ROLES = [("read", "x"), ("readWrite", "x"), ("root", "admin"), ("clusterMonitor", "admin")]
role_sets = st.frozensets(st.sampled_from(ROLES), max_size=3)
keys = st.tuples(st.sampled_from(["admin", "linda"]), st.sampled_from(["admin", "app", "monitor", "reader"]))


@st.composite
def described(draw: st.DrawFn) -> list[User]:
    wanted = draw(st.lists(keys, unique=True, max_size=6))
    users = [
        User(
            name,
            database,
            password=draw(st.sampled_from(["one", "two"])),
            roles=draw(st.none() | role_sets),
            state=draw(st.sampled_from(["present", "present", "absent"])),
            update=draw(st.sampled_from(["always", "on_create"])),
        )
        for database, name in wanted
        if (database, name) != LOGIN
    ]
    own = replace(ADMIN, roles=draw(st.sampled_from([ROOT, frozenset({("userAdminAnyDatabase", "admin")})])))
    users.insert(draw(st.integers(0, len(users))), own)
    return users


class Model:
    """A user store: key -> [password, roles]; a login that stops working breaks it."""

    def __init__(self, accounts: dict[UserKey, list[Any]]) -> None:
        self.accounts = accounts
        self.reduced = False

    def observe(self, users: list[User]) -> Observed:
        if not self.accounts:
            return Observed(None)
        passwords = {user.key: user.password for user in users}
        return Observed({key: Account(roles, passwords.get(key) == password) for key, (password, roles) in self.accounts.items()})

    def apply(self, step: Step) -> None:
        key = step.user.key
        assert step.first == (not self.accounts), "the localhost exception opens for one user"
        assert step.first or not self.reduced, "our rights were gone before the end"
        if step.action == "create_user":
            assert key not in self.accounts
            self.accounts[key] = [step.user.password, step.user.roles or frozenset()]
        elif step.action == "drop_user":
            del self.accounts[key]
        else:
            if "password" in step.changes:
                self.accounts[key][0] = step.user.password
            if "roles" in step.changes:
                self.accounts[key][1] = step.user.roles
                self.reduced = key == LOGIN

    def is_like(self, users: list[User], before: dict[UserKey, list[Any]]) -> bool:
        for user in users:
            account = self.accounts.get(user.key)
            if user.state == "absent":
                if account is not None:
                    return False
                continue
            if account is None or (user.roles is not None and account[1] != user.roles):
                return False
            if user.roles is None and user.key in before and account[1] != before[user.key][1]:
                return False
            kept = user.update == "on_create" and user.key in before
            if account[0] != (before[user.key][0] if kept else user.password):
                return False
        described_keys = {user.key for user in users}
        return all(self.accounts.get(key) == account for key, account in before.items() if key not in described_keys)


@settings(max_examples=200, deadline=None)
@given(
    described(), st.dictionaries(keys, st.tuples(st.sampled_from(["one", "two"]), role_sets), max_size=6), st.booleans(), st.integers(0, 12)
)
def test_any_state_reaches_the_description_also_when_a_run_dies(
    users: list[User], store: dict[UserKey, tuple[str, frozenset[tuple[str, str]]]], empty: bool, dies_after: int
) -> None:
    accounts: dict[UserKey, list[Any]] = {} if empty else {key: list(value) for key, value in store.items()}
    if not empty:
        accounts[LOGIN] = [WORD, ROOT]
    before = {key: list(value) for key, value in accounts.items()}
    model = Model(accounts)
    for step in itertools.islice(plan(users, model.observe(users), LOGIN), dies_after):
        model.apply(step)
    model.reduced = False
    for step in plan(users, model.observe(users), LOGIN):
        model.apply(step)
    assert model.is_like(users, before)
    assert plan(users, model.observe(users), LOGIN) == []
