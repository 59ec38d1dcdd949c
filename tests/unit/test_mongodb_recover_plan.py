"""The planner of mongodb_replset_recover: it refuses as long as there is another way, and plans what is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_recover_plan import Sight, Situation, at_risk, parse_survivors, plan
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_spec import Member
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("a:27017", "b:27017", "c:27017", "d:27017", "e:27017", "f:27017")
NOON = datetime(2026, 11, 23, 12)


def situation(members: list[Member], *alive: str, **more: Any) -> Situation:
    numbered = tuple(replace(member, id=place) for place, member in enumerate(members))
    sights = {member.host: Sight(answers=member.host in alive, newest=NOON) for member in members}
    return Situation(**{"name": "rs0", "entry": alive[0], "members": numbered, "sights": sights, "version": 7, "committed": NOON, **more})


def three(*alive: str, **more: Any) -> Situation:
    return situation([Member(host) for host in NAMES[:3]], *alive, **more)


def code_of(survivors: list[str], seen: Situation) -> str:
    with pytest.raises(MongodbError) as caught:
        plan(survivors, seen)
    return caught.value.code


def test_the_name_has_to_be_typed() -> None:
    for confirm, check_mode in ((None, False), ("rs1", False), ("RS0", False), ("", True), ("rs1", True)):
        with pytest.raises(MongodbError, match="confirm: rs0") as caught:
            parse_survivors("rs0", ["a"], confirm, check_mode=check_mode)
        assert caught.value.code == "not_confirmed"
    assert parse_survivors("rs0", ["A", "b:1"], "rs0", check_mode=False) == ("a:27017", "b:1")
    assert parse_survivors("rs0", ["a"], None, check_mode=True) == ("a:27017",)


def test_one_of_three_is_left() -> None:
    steps = plan(["a:27017"], three("a:27017"))
    assert [step.action for step in steps] == ["save", "force_reconfigure", "wait_primary"]
    assert [(member.host, member.id) for member in steps[1].members] == [("a:27017", 0)]


@pytest.mark.parametrize(
    ("code", "survivors", "seen"),
    [
        ("unknown_member", ["a:27017", "x:27017"], three("a:27017")),
        ("entry_not_survivor", ["b:27017"], three("a:27017", "b:27017")),
        ("survivor_down", ["a:27017", "b:27017"], three("a:27017")),
        ("survivor_left_out", ["a:27017"], situation([Member(host) for host in NAMES[:5]], "a:27017", "b:27017")),
        ("majority_reachable", ["a:27017"], three("a:27017", "b:27017")),
        ("backup_exists", ["a:27017"], three("a:27017", saved=("rs0", 6))),
        ("backup_exists", ["a:27017"], three("a:27017", saved=("rs1", 7))),
        (
            "no_electable_member",
            ["a:27017"],
            situation([Member(NAMES[0], priority=0, arbiter=True), Member(NAMES[1]), Member(NAMES[2])], "a:27017"),
        ),
    ],
)
def test_what_is_refused(code: str, survivors: list[str], seen: Situation) -> None:
    assert code_of(survivors, seen) == code


def test_a_primary_that_somebody_sees_is_enough_to_refuse() -> None:
    seen = three("a:27017")
    seen = replace(seen, sights={**seen.sights, "c:27017": Sight(answers=False, primary=True)})
    assert code_of(["a:27017"], seen) == "majority_reachable"


def test_a_run_that_died_goes_on() -> None:
    saved = three("a:27017", saved=("rs0", 7))
    assert [step.action for step in plan(["a:27017"], saved)] == ["force_reconfigure", "wait_primary"]
    forced = situation([Member(NAMES[0])], "a:27017", saved=("rs0", 7), version=45536)
    assert [step.action for step in plan(["a:27017"], forced)] == ["wait_primary"]
    led = replace(forced, sights={"a:27017": Sight(answers=True, primary=True)})
    assert plan(["a:27017"], led) == []


def test_members_that_were_never_to_lead_can_when_nobody_else_is_left() -> None:
    members = [Member(host) for host in NAMES[:3]]
    members += [
        Member(NAMES[3], votes=0, priority=0, hidden=True),
        Member(NAMES[4], votes=0, priority=0, delay=3600),
    ]
    steps = plan(["d:27017", "e:27017"], situation(members, "d:27017", "e:27017"))
    kept = {member.host: member for member in steps[1].members}
    assert (kept["d:27017"].votes, kept["d:27017"].priority, kept["d:27017"].hidden) == (1, 1.0, False)
    assert (kept["e:27017"].votes, kept["e:27017"].delay) == (0, 3600)
    (alone,) = plan(["e:27017"], situation(members, "e:27017"))[1].members
    assert (alone.votes, alone.priority, alone.delay) == (1, 1.0, 0)


def test_the_report_names_times_and_members() -> None:
    report = at_risk(["a:27017"], three("a:27017"))
    assert report["kept_until"] == report["committed_until"] == "2026-11-23T12:00:00.000+00:00"
    assert [one["host"] for one in report["lost_members"]] == ["b:27017", "c:27017"]
    assert "only b:27017, c:27017 had" in report["message"]
    assert at_risk(["a:27017"], situation([Member(NAMES[0])], "a:27017"))["message"].startswith("Nothing")


@given(st.lists(st.sampled_from([(1, 1.0), (1, 0.0), (0, 0.0)]), min_size=1, max_size=6), st.data())
def test_it_is_planned_only_without_a_majority_and_what_comes_out_can_elect(kinds: list[tuple[int, float]], data: st.DataObject) -> None:
    members = [Member(host, votes=votes, priority=priority) for host, (votes, priority) in zip(NAMES, kinds, strict=False)]
    alive = data.draw(st.lists(st.sampled_from([member.host for member in members]), min_size=1, unique=True))
    survivors = data.draw(st.lists(st.sampled_from(alive), min_size=1, unique=True))
    seen = situation(members, *alive)
    try:
        steps = plan(survivors, seen)
    except MongodbError as problem:
        code = problem.code
    else:
        code = None
    if code is not None:
        assert code in ("majority_reachable", "survivor_left_out", "entry_not_survivor")
        return
    forced = next((step for step in steps if step.action == "force_reconfigure"), None)
    if forced is None:
        assert set(survivors) == {member.host for member in members}
        return
    voters = [member for member in members if member.votes]
    assert 2 * sum(member.host in alive for member in voters) <= len(voters)
    assert {member.host for member in forced.members} == set(survivors) == set(alive)
    assert any(member.electable for member in forced.members)
    assert all(member.id is not None for member in forced.members)
