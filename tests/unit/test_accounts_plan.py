# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planner of linda.ops.accounts, carried out on a model of the account databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.linda.ops.plugins.filter.authorized_keys_files import authorized_keys_files
from ansible_collections.linda.ops.plugins.module_utils._accounts_plan import (
    AccountsError,
    Found,
    Step,
    Wanted,
    describe,
    foresee,
    plan,
    read_accounts,
    read_groups,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["ada", "bob", "charles"]


def person(who: str, **fields: object) -> Found:
    return replace(Found(who, 1000 + NAMES.index(who), "", "/bin/bash", f"/home/{who}", "*", ""), **fields)  # type: ignore[arg-type]  # free-form


def carry_out(accounts: dict[str, Found], step: Step) -> dict[str, Found]:
    """What useradd, usermod, userdel and mkhomedir_helper do to the databases, from their argv alone."""
    after = dict(accounts)
    if step.end_processes_of is not None:
        return after
    tool, *arguments, name = step.argv
    if tool == "mkhomedir_helper":
        after[arguments[0]] = replace(after[arguments[0]], home_missing=False)
        return after
    if tool == "userdel":
        del after[name]
        return after
    account = Found(name, 1000, "", "/bin/sh", f"/home/{name}", "!", "") if tool == "useradd" else after[name]
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        match option:
            case "--comment":
                account = replace(account, comment=value)
            case "--shell":
                account = replace(account, shell=value)
            case "--password":
                account = replace(account, password=value)
            case "--expiredate":
                account = replace(account, expires=value)
            case "--lock":
                account = replace(account, password=f"!{account.password}")
    after[name] = account
    return after


wanted_lists = st.lists(
    st.builds(
        Wanted,
        name=st.sampled_from(NAMES),
        comment=st.sampled_from(["", "Ada Lovelace"]),
        shell=st.sampled_from(["/bin/bash", "/bin/sh"]),
        present=st.booleans(),
        remove_home=st.booleans(),
    ),
    unique_by=lambda account: account.name,
)
found_maps = st.lists(
    st.builds(
        person,
        st.sampled_from(NAMES),
        comment=st.sampled_from(["", "somebody"]),
        shell=st.sampled_from(["/bin/bash", "/usr/sbin/nologin"]),
        password=st.sampled_from(["*", "!", "!*", "$y$hash"]),
        expires=st.sampled_from(["", "1"]),
        home_missing=st.booleans(),
    ),
    unique_by=lambda account: account.name,
).map(lambda accounts: {account.name: account for account in accounts})


@given(wanted=wanted_lists, found=found_maps, stop=st.integers(min_value=0, max_value=20))
def test_a_plan_cut_short_anywhere_is_finished_by_the_next_one(wanted: list[Wanted], found: dict[str, Found], stop: int) -> None:
    accounts = found
    for step in plan(wanted, accounts)[:stop]:
        accounts = carry_out(accounts, step)
    for step in plan(wanted, accounts):
        accounts = carry_out(accounts, step)
    assert plan(wanted, accounts) == []
    listed = {account.name for account in wanted}
    assert {name: one for name, one in accounts.items() if name not in listed} == {
        name: one for name, one in found.items() if name not in listed
    }
    for one in wanted:
        assert (one.name in accounts) == one.present
        if one.present:
            assert (accounts[one.name].password, accounts[one.name].expires) == ("*", "")


@given(wanted=wanted_lists, found=found_maps)
def test_the_foreseen_accounts_are_those_that_the_steps_make(wanted: list[Wanted], found: dict[str, Found]) -> None:
    accounts = found
    for step in plan(wanted, accounts):
        accounts = carry_out(accounts, step)
    names = [account.name for account in wanted]
    assert describe(foresee(wanted, found), names) == describe(accounts, names)


def test_an_account_is_closed_before_its_processes_end_and_only_then_removed() -> None:
    steps = plan([Wanted("bob", present=False)], {"bob": person("bob")})
    assert [step.text for step in steps] == ["close bob", "end the sessions of bob", "remove bob"]
    assert steps[0].argv == ("usermod", "--lock", "--expiredate", "1", "bob")
    assert steps[1].end_processes_of == 1001
    assert steps[2].argv == ("userdel", "bob")


def test_a_left_over_group_is_taken_up() -> None:
    assert "--user-group" in plan([Wanted("ada")], {})[0].argv
    assert plan([Wanted("ada")], {}, read_groups("root:x:0:\nada:x:1004:\n"))[0].argv[2:4] == ("--gid", "ada")


@pytest.mark.parametrize(
    ("wanted", "found", "in_use", "words"),
    [
        ([Wanted("ada"), Wanted("ada", present=False)], {}, set(), "listed 2 times"),
        ([Wanted("daemon")], {"daemon": person("ada", name="daemon", uid=1)}, set(), "belongs to the system"),
        ([Wanted("nobody", present=False)], {"nobody": person("ada", name="nobody", uid=65534)}, set(), "belongs to the system"),
        ([Wanted("ada", present=False)], {"ada": person("ada")}, {1000}, "logged in with"),
        ([Wanted("ada", present=False)], {"ada": person("ada"), "twin": person("ada", name="twin")}, set(), "shares uid 1000 with twin"),
    ],
)
def test_dangerous_wishes_are_refused(wanted: list[Wanted], found: dict[str, Found], in_use: set[int], words: str) -> None:
    with pytest.raises(AccountsError, match=words):
        plan(wanted, found, in_use=frozenset(in_use))


def test_accounts_are_read_from_the_databases() -> None:
    accounts = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada:/home/ada:/bin/bash\n+nis\n"
    shadow = "root:*:1::::::\nada:$y$x:19000:0:99999:7::20000:\n"
    found = read_accounts(accounts, shadow)
    assert found["ada"] == Found("ada", 1000, "Ada", "/bin/bash", "/home/ada", "$y$x", "20000")
    assert sorted(found) == ["ada", "root"]
    assert "$y$" not in describe(found, ["ada"])


def test_key_files_are_made_for_those_who_are_let_in() -> None:
    accounts = [
        {"name": "ada", "keys": ["ssh-ed25519 AAAA a\n", "ssh-ed25519 BBBB b"]},
        {"name": "bob", "keys": ["ssh-ed25519 CCCC"], "state": "absent"},
        {"name": "charles"},
    ]
    assert authorized_keys_files(accounts, "k") == [{"path": "k/ada", "content": "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n"}]
