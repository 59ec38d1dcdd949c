"""The planner of mongodb_users."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_plan import (
    Account,
    Description,
    Observed,
    RoleState,
    Step,
    picture,
    plan,
    unmanaged,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_users_spec import CustomRole, Privileges, Role, User, UserKey
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = frozenset({("root", "admin")})
LOGIN: UserKey = ("admin", "admin")
WORD = "a-secret"
ADMIN = User("admin", password=WORD, roles=ROOT)
BOTH = frozenset({"SCRAM-SHA-1", "SCRAM-SHA-256"})
STRONG = frozenset({"SCRAM-SHA-256"})
HOME = frozenset({(frozenset({"10.0.0.0/8"}), frozenset[str]())})
READS: Privileges = {("collection", "x", ""): frozenset({"find"})}
HELPER = CustomRole("helper", privileges=READS)
HAS_HELPER = frozenset({("helper", "admin")})
HERE = Observed({LOGIN: Account(ROOT)})


def steps_of(*users: User, observed: Observed, roles: tuple[CustomRole, ...] = (), **more: Any) -> list[Step]:
    return plan(Description(users, roles, **more), observed, LOGIN)


# -------------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("code", "users", "observed", "login"),
    [
        ("first_user_missing", [User("app", password=WORD, roles=ROOT)], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", roles=ROOT)], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", password=WORD, state="absent")], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", password=WORD, roles=frozenset({("read", "admin")}))], Observed(None), LOGIN),
        ("first_user_missing", [User("admin", "x", password=WORD, roles=frozenset({("dbOwner", "x")}))], Observed(None), ("x", "admin")),
        ("first_user_missing", [ADMIN], Observed(None), ("$external", "")),
        ("password_missing", [User("app", roles=frozenset())], HERE, LOGIN),
        ("drops_login_user", [User("admin", state="absent")], HERE, LOGIN),
        ("drops_login_user", [User("CN=a", "$external", state="absent")], HERE, ("$external", "CN=a")),
        ("locks_out_login_user", [User("admin", roles=frozenset())], HERE, LOGIN),
        ("locks_out_login_user", [replace(ADMIN, restrictions=HOME)], replace(HERE, client="192.0.2.1"), LOGIN),
        ("locks_out_login_user", [replace(ADMIN, restrictions=HOME)], Observed(None, client="127.0.0.1"), LOGIN),
        ("unknown_role", [User("a", password=WORD, roles=frozenset({("raed", "x")}))], Observed({}, {("read", "x"): RoleState()}), None),
        ("password_missing", [User("a", mechanisms=BOTH)], Observed({("admin", "a"): Account(mechanisms=STRONG)}), LOGIN),
        (
            "password_missing",
            [User("a", password=WORD, update="on_create", mechanisms=BOTH)],
            Observed({("admin", "a"): Account(mechanisms=STRONG)}),
            LOGIN,
        ),
        (
            "user_in_use",
            [User("a", state="absent", in_use="refuse")],
            Observed({("admin", "a"): Account()}, connections={("admin", "a"): ("api1 on db1",)}),
            LOGIN,
        ),
        (
            "user_in_use",
            [User("a", password=WORD, in_use="refuse")],
            Observed({("admin", "a"): Account(password_matches=False)}, connections={("admin", "a"): ("api1 on db1",) * 9}),
            LOGIN,
        ),
    ],
)
def test_what_would_go_wrong_is_refused_before_the_first_write(code: str, users: list[User], observed: Observed, login: UserKey) -> None:
    with pytest.raises(MongodbError) as caught:
        plan(Description(tuple(users)), observed, login)
    assert caught.value.code == code
    assert WORD not in caught.value.message


PRESENT = {("helper", "admin"): RoleState(privileges=READS)}
OLD = Observed({("admin", "old"): Account()})
HELD = {LOGIN: ROOT, ("admin", "old"): HAS_HELPER}


@pytest.mark.parametrize(
    ("code", "role", "users", "observed"),
    [
        ("builtin_role", CustomRole("read", "x"), (), Observed({}, {("read", "x"): RoleState(builtin=True)})),
        ("unknown_role", CustomRole("r", roles=frozenset({("raed", "x")})), (), Observed({}, {})),
        ("unknown_action", CustomRole("r", privileges=READS), (), Observed({}, {}, actions=frozenset({"insert"}))),
        ("role_in_use", CustomRole("helper", state="absent"), (User("a", password=WORD, roles=HAS_HELPER),), Observed({}, PRESENT)),
        ("role_in_use", CustomRole("helper", state="absent"), (), Observed({}, PRESENT, everybody=HELD)),
        (
            "role_in_use",
            CustomRole("helper", state="absent"),
            (User("old"),),
            Observed({("admin", "old"): Account()}, PRESENT, everybody=HELD),
        ),
        ("locks_out_login_user", CustomRole("helper", state="absent"), (), Observed({}, PRESENT, own_roles=HAS_HELPER)),
        (
            "role_cycle",
            CustomRole("helper", roles=frozenset({("heir", "admin")})),
            (),
            Observed({}, {**PRESENT, ("heir", "admin"): RoleState(roles=HAS_HELPER)}),
        ),
    ],
)
def test_roles_that_cannot_be_are_refused(code: str, role: CustomRole, users: tuple[User, ...], observed: Observed) -> None:
    with pytest.raises(MongodbError) as caught:
        plan(Description(users, (role,)), observed, LOGIN)
    assert caught.value.code == code


# ----------------------------------------------------------------------------------------------------------------------- plan


def test_the_first_user_is_the_one_we_log_in_with_wherever_it_is_listed() -> None:
    steps = steps_of(User("app", password=WORD, roles=frozenset()), ADMIN, observed=Observed(None))
    assert [(step.subject.name, step.first) for step in steps] == [("admin", True), ("app", False)]
    assert "localhost exception" in steps[0].describe()["reason"]


def test_the_first_user_gets_a_role_of_our_own_once_it_exists() -> None:
    steps = steps_of(replace(ADMIN, roles=ROOT | HAS_HELPER), observed=Observed(None), roles=(HELPER,))
    assert [(step.action, step.first) for step in steps] == [("create_user", True), ("create_role", False), ("update_user", False)]
    assert steps[0].subject.roles == ROOT


def test_roles_left_out_are_untouched_and_an_empty_list_takes_all() -> None:
    observed = Observed({("admin", "app"): Account(frozenset({("read", "x")}))})
    assert steps_of(User("app"), observed=observed) == []
    (step,) = steps_of(User("app", roles=frozenset()), observed=observed)
    assert step.changes == ("roles",)


@pytest.mark.parametrize(
    ("matches", "mode", "changes"),
    [(True, "always", []), (False, "always", [("password",)]), (None, "always", []), (False, "on_create", [])],
)
def test_a_password_is_replaced_only_when_it_differs(matches: bool | None, mode: str, changes: list[tuple[str, ...]]) -> None:
    observed = Observed({("admin", "app"): Account(password_matches=matches)})
    assert [step.changes for step in steps_of(User("app", password=WORD, update=mode), observed=observed)] == changes


@pytest.mark.parametrize(
    ("mechanisms", "matches", "with_password", "sent"),
    [
        (None, False, True, STRONG),  # the server would fall back to both
        (BOTH, True, True, BOTH),  # one more needs the password
        (frozenset({"SCRAM-SHA-1"}), False, True, frozenset({"SCRAM-SHA-1"})),
    ],
)
def test_mechanisms_stay_or_change_as_described(
    mechanisms: frozenset[str] | None, matches: bool, with_password: bool, sent: frozenset[str]
) -> None:
    observed = Observed({("admin", "app"): Account(password_matches=matches, mechanisms=STRONG)})
    (step,) = steps_of(User("app", password=WORD, mechanisms=mechanisms), observed=observed)
    assert (step.with_password, step.mechanisms) == (with_password, sent)


def test_a_mechanism_is_taken_away_without_the_password() -> None:
    observed = Observed({("admin", "app"): Account(mechanisms=BOTH)})
    (step,) = steps_of(User("app", mechanisms=STRONG), observed=observed)
    assert (step.changes, step.with_password, step.mechanisms) == (("mechanisms",), False, STRONG)


def test_every_property_of_a_user_that_differs_is_named() -> None:
    observed = Observed({("admin", "app"): Account(ROOT, False, BOTH, frozenset(), {"team": "a"})})
    wanted = User("app", password=WORD, roles=frozenset(), mechanisms=STRONG, restrictions=HOME, custom_data={"team": "b"})
    (step,) = steps_of(wanted, observed=observed)
    assert step.describe() == {
        "action": "update_user",
        "user": "app",
        "database": "admin",
        "reason": "change password and roles and mechanisms and authentication_restrictions and custom_data of admin.app",
    }


def test_roles_come_before_who_needs_them_and_go_after() -> None:
    old = {("old", "admin"): RoleState(), ("older", "admin"): RoleState(frozenset({("old", "admin")}))}
    accounts = {LOGIN: Account(ROOT), ("admin", "gone"): Account(frozenset(old)), ("admin", "app"): Account(frozenset(old))}
    steps = steps_of(
        User("app", roles=HAS_HELPER),
        User("gone", state="absent"),
        observed=Observed(accounts, {**PRESENT, **old}),
        roles=(
            CustomRole("old", state="absent"),
            replace(HELPER, roles=frozenset({("base", "admin")})),
            CustomRole("older", state="absent"),
            CustomRole("base"),
        ),
    )
    assert [(step.action, step.subject.name) for step in steps] == [
        ("create_role", "base"),
        ("update_role", "helper"),
        ("update_user", "app"),
        ("drop_user", "gone"),
        ("drop_role", "older"),
        ("drop_role", "old"),
    ]


def test_a_role_that_we_have_ourselves_changes_after_all_others() -> None:
    observed = Observed({LOGIN: Account(HAS_HELPER)}, {**PRESENT, ("b", "admin"): RoleState()}, own_roles=HAS_HELPER)
    steps = steps_of(
        User("app", password=WORD), observed=observed, roles=(replace(HELPER, privileges={}), CustomRole("b", privileges=READS))
    )
    assert [step.subject.name for step in steps] == ["b", "app", "helper"]


def test_a_turned_inheritance_is_undone_before_it_is_made_anew() -> None:
    present = {("a", "admin"): RoleState(frozenset({("b", "admin")})), ("b", "admin"): RoleState()}
    turned = (CustomRole("b", roles=frozenset({("a", "admin")})), CustomRole("a", roles=frozenset()))
    assert [step.subject.name for step in steps_of(observed=Observed({}, present), roles=turned)] == ["a", "b"]


def test_users_outside_of_the_description_are_kept_reported_or_removed() -> None:
    everybody = dict.fromkeys([LOGIN, ("admin", "app"), ("x", "who"), ("admin", "auditor"), ("local", "__system")], ROOT)
    observed = Observed({LOGIN: Account(ROOT), ("admin", "app"): Account(ROOT)}, everybody=everybody)
    for mode, removed in (("keep", []), ("report", []), ("drop", ["x.who"])):
        wanted = Description((User("app"),), (), mode, frozenset({"admin.auditor"}))
        assert unmanaged(wanted, observed, LOGIN) == [("x", "who")]
        steps = plan(wanted, observed, LOGIN)
        assert [(step.action, step.subject.label) for step in steps] == [("drop_user", label) for label in removed]
        assert ("x.who" in picture(wanted, observed, steps)[0]["users"]) is bool(removed)


def test_an_account_in_use_is_waited_for_before_it_goes_or_changes() -> None:
    observed = Observed({("admin", "a"): Account(), ("admin", "b"): Account(password_matches=False, roles=ROOT)})
    leaving = User("a", state="absent", in_use="wait")
    changing = User("b", password=WORD, in_use="wait")
    assert [(step.action, step.subject.name) for step in steps_of(leaving, changing, observed=observed)] == [
        ("wait_unused", "b"),
        ("update_user", "b"),
        ("wait_unused", "a"),
        ("drop_user", "a"),
    ]
    assert steps_of(User("b", roles=ROOT, in_use="wait"), observed=observed) == []


def test_nothing_that_is_shown_holds_a_password() -> None:
    wanted = Description((ADMIN, User("app", password=WORD, roles=ROOT)), (HELPER,))
    observed = Observed({LOGIN: Account(ROOT, password_matches=False)})
    steps = plan(wanted, observed, LOGIN)
    before, after = picture(wanted, observed, steps)
    assert "secret" not in repr([steps, [step.describe() for step in steps], before, after, wanted])
    assert before == {"users": {"admin.admin": {"password": "(kept)", "roles": ["root@admin"]}}, "custom_roles": {}}
    assert after["users"]["admin.admin"] == {"password": "(replaced)", "roles": ["root@admin"]}
    assert after["custom_roles"]["helper@admin"]["privileges"] == [{"resource": {"db": "x", "collection": ""}, "actions": ["find"]}]


# ------------------------------------------------------------------------------------------------------------- any two states

BUILTIN = [("read", "x"), ("readWrite", "x"), ("root", "admin"), ("clusterMonitor", "admin"), ("userAdminAnyDatabase", "admin")]
OWN = [("r1", "admin"), ("r2", "admin"), ("r3", "admin")]
role_sets = st.frozensets(st.sampled_from(BUILTIN), max_size=3)
keys = st.tuples(st.sampled_from(["admin", "linda"]), st.sampled_from(["admin", "app", "monitor", "reader"]))
mechanism_sets = st.sampled_from([STRONG, BOTH, frozenset({"SCRAM-SHA-1"})])
restriction_sets = st.sampled_from([frozenset(), HOME])
privilege_sets = st.dictionaries(st.sampled_from([("cluster",), ("collection", "x", "")]), st.frozensets(st.sampled_from("ab"), min_size=1))


@dataclass
class Store:
    """A cluster without a network: refuses what the server refuses, and does silently what the server does silently."""

    users: dict[UserKey, list[Any]] = field(default_factory=dict)
    """key -> [password, roles, mechanisms, restrictions]"""
    roles: dict[Role, RoleState] = field(default_factory=dict)
    reduced: bool = False

    def observe(self, wanted: Description) -> Observed:
        if not self.users:
            return Observed(None)
        passwords = {user.key: user.password for user in wanted.users}
        inherited = {role for one in wanted.roles for role in one.roles or ()}
        named = {role for user in wanted.users for role in user.roles or ()} | inherited | {role.key for role in wanted.roles}
        return Observed(
            {
                key: Account(roles, passwords.get(key) == word, mechanisms, restrictions)
                for key, (word, roles, mechanisms, restrictions) in self.users.items()
            },
            {role: RoleState(builtin=True) for role in BUILTIN} | {key: self.roles[key] for key in named if key in self.roles},
            everybody={key: account[1] for key, account in self.users.items()},
            own_roles=self.all_of(self.users[LOGIN][1]),
        )

    def all_of(self, roles: frozenset[Role]) -> frozenset[Role]:
        found: frozenset[Role] = frozenset()
        while roles - found:
            found |= roles
            roles = frozenset().union(*(self.roles[role].roles for role in found if role in self.roles))
        return found

    def apply(self, step: Step) -> None:
        assert step.first == (not self.users), "the localhost exception opens for one user"
        assert step.first or not self.reduced, "our rights were gone before the end"
        if isinstance(step.subject, CustomRole):
            self._apply_role(step, step.subject)
        else:
            self._apply_user(step, step.subject)

    def _apply_role(self, step: Step, role: CustomRole) -> None:
        if step.action == "drop_role":
            del self.roles[role.key]
            for account in self.users.values():
                account[1] -= {role.key}
            self.roles = {key: replace(state, roles=state.roles - {role.key}) for key, state in self.roles.items()}
            return
        assert (role.key in self.roles) is (step.action == "update_role")
        state = self.roles.get(role.key, RoleState())
        for parent in role.roles or ():
            assert parent in BUILTIN or parent in self.roles, "a role inherits one that is not there"
        fresh: dict[str, Any] = {
            "privileges": role.privileges if "privileges" in step.changes else None,
            "roles": role.roles if "roles" in step.changes else None,
            "restrictions": role.restrictions if "authentication_restrictions" in step.changes else None,
        }
        self.roles[role.key] = replace(state, **{name: value for name, value in fresh.items() if value is not None})
        for parent in self.roles[role.key].roles:
            assert role.key not in self.all_of(frozenset({parent})), "a role inherits itself"

    def _apply_user(self, step: Step, user: User) -> None:
        if step.action == "wait_unused":
            return
        if step.action == "drop_user":
            assert user.key != LOGIN
            del self.users[user.key]
            return
        assert (user.key in self.users) is (step.action == "update_user")
        account = self.users.setdefault(user.key, [None, frozenset(), BOTH, frozenset()])
        if step.with_password:
            account[0], account[2] = user.password, step.mechanisms or BOTH
        elif step.mechanisms is not None:
            assert step.mechanisms <= account[2], "the server cannot derive credentials without the password"
            account[2] = step.mechanisms
        if step.action == "create_user" or "roles" in step.changes:
            account[1] = user.roles or frozenset()
            for role in account[1]:
                assert role in BUILTIN or role in self.roles, "a user gets a role that is not there"
            self.reduced = step.action == "update_user" and user.key == LOGIN
        if "authentication_restrictions" in step.changes:
            account[3] = user.restrictions


@st.composite
def described(draw: st.DrawFn) -> Description:
    roles = [
        CustomRole(
            *key,
            privileges=draw(st.none() | privilege_sets),
            # Each inherits only those before it.
            roles=draw(st.none() | st.frozensets(st.sampled_from([*BUILTIN, *OWN[:place]]), max_size=3)),
            restrictions=draw(st.none() | restriction_sets),
        )
        for place, key in enumerate(OWN)
        if draw(st.booleans())
    ]
    described_keys = [role.key for role in roles]
    roles = [replace(role, roles=None if role.roles is None else role.roles & {*BUILTIN, *described_keys}) for role in roles]
    absent = [CustomRole(*key, state="absent") for key in OWN if key not in described_keys and draw(st.booleans())]
    wanted = draw(st.lists(keys, unique=True, max_size=6))
    users = [
        User(
            name,
            database,
            password=draw(st.sampled_from(["one", "two"])),
            roles=draw(st.none() | st.frozensets(st.sampled_from([*BUILTIN, *described_keys]), max_size=3)),
            state=draw(st.sampled_from(["present", "present", "absent"])),
            update=draw(st.sampled_from(["always", "always", "on_create"])),
            mechanisms=draw(st.none() | mechanism_sets),
            restrictions=draw(st.none() | restriction_sets),
            in_use=draw(st.sampled_from(["allow", "wait"])),
        )
        for database, name in wanted
        if (database, name) != LOGIN
    ]
    held = draw(st.sampled_from([ROOT, frozenset({("userAdminAnyDatabase", "admin")})]))
    own = replace(ADMIN, roles=held | draw(st.frozensets(st.sampled_from(described_keys or BUILTIN), max_size=2)))
    users.insert(draw(st.integers(0, len(users))), own)
    mode = draw(st.sampled_from(["keep", "report", "drop"]))
    return Description(tuple(users), tuple(draw(st.permutations([*roles, *absent]))), mode, frozenset({"linda.reader"}))


@st.composite
def stores(draw: st.DrawFn) -> Store:
    if draw(st.integers(0, 4)) == 0:
        return Store()
    # In any order, so that an inheritance may have to be turned.
    names = draw(st.lists(st.sampled_from(OWN), unique=True))
    some_roles = st.frozensets(st.sampled_from([*BUILTIN, *names]), max_size=3)
    roles: dict[Role, RoleState] = {}
    for key in names:
        inherited = draw(st.frozensets(st.sampled_from([*BUILTIN, *roles]), max_size=3))
        roles[key] = RoleState(inherited, draw(privilege_sets), draw(restriction_sets))
    users = {
        key: [draw(st.sampled_from(["one", "two"])), draw(some_roles), draw(mechanism_sets), draw(restriction_sets)]
        for key in draw(st.lists(keys, unique=True))
    }
    users[LOGIN] = [WORD, ROOT | draw(st.frozensets(st.sampled_from(names or BUILTIN), max_size=1)), BOTH, frozenset()]
    return Store(users, roles)


def is_like(store: Store, wanted: Description, before: Store) -> None:
    """Assert that the store is as described, and as before where nothing is described."""
    dropped = {role.key for role in wanted.roles if role.state == "absent"}
    for user in wanted.users:
        account, former = store.users.get(user.key), before.users.get(user.key)
        if user.state == "absent":
            assert account is None
            continue
        assert account is not None
        assert account[1] == (user.roles if user.roles is not None else (former[1] - dropped if former else frozenset()))
        assert account[0] == (former[0] if former and user.update == "on_create" else user.password)
        assert account[2] == (user.mechanisms or (former[2] if former else BOTH))
        assert account[3] == (user.restrictions if user.restrictions is not None else (former[3] if former else frozenset()))
    for role in wanted.roles:
        state, known = store.roles.get(role.key), before.roles.get(role.key, RoleState())
        if role.state == "absent":
            assert state is None
            continue
        assert state is not None
        assert state.privileges == (role.privileges if role.privileges is not None else known.privileges)
        assert state.roles == (role.roles if role.roles is not None else known.roles - dropped)
        assert state.restrictions == (role.restrictions if role.restrictions is not None else known.restrictions)
    named = {user.key for user in wanted.users}
    outside = {key for key in before.users if key not in named}
    kept = outside if wanted.unmanaged != "drop" else {key for key in outside if f"{key[0]}.{key[1]}" in wanted.spared}
    assert {key: store.users[key][0] for key in kept} == {key: before.users[key][0] for key in kept}
    assert not (outside - kept) & set(store.users)


@settings(max_examples=400, deadline=None)
@given(described(), stores(), st.integers(0, 16))
def test_any_state_reaches_the_description_also_when_a_run_dies(wanted: Description, store: Store, dies_after: int) -> None:
    before = Store({key: list(value) for key, value in store.users.items()}, dict(store.roles))
    try:
        steps = plan(wanted, store.observe(wanted), LOGIN)
    except MongodbError as refusal:
        # Each of these is a state that a person has to decide about; nothing was done.
        if refusal.code not in {"password_missing", "role_in_use", "role_cycle", "locks_out_login_user"}:
            raise
        return
    for step in itertools.islice(steps, dies_after):
        store.apply(step)
    store.reduced = False
    for step in plan(wanted, store.observe(wanted), LOGIN):
        store.apply(step)
    is_like(store, wanted, before)
    assert plan(wanted, store.observe(wanted), LOGIN) == []
