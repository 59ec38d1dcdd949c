"""The planner of the rolling engine: refusals by name, and properties over generated sets in a model of what serves and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling_plan import (
    SECURITY_LADDER,
    SERIES,
    Limits,
    Member,
    Observed,
    Target,
    advance,
    gates,
    missing,
    next_step,
    order,
    plan,
    redirects,
    refuse_feature_compatibility,
    refuse_version,
    rounds,
    rung,
)
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits()
DOWN = "(not reachable/healthy)"


def three(**first: object) -> Observed:
    """A healthy set whose first member is primary, with changes to that one."""
    healthy = {"version": "6.0.5", "started": 100.0, "security": ("requireTLS", "x509")}
    members = [Member(host=f"m{n}:27017", state="SECONDARY", **healthy) for n in (1, 2, 3)]  # type: ignore[arg-type]
    members[0] = replace(members[0], **{"state": "PRIMARY", **first})  # type: ignore[arg-type]
    return Observed(tuple(members), "6.0")


def change(observed: Observed, host: str, **values: object) -> Observed:
    members = tuple(replace(one, **values) if one.host == host else one for one in observed.members)  # type: ignore[arg-type]
    return replace(observed, members=members)


def codes(observed: Observed, host: str = "m2:27017", limits: Limits = LIMITS) -> set[str]:
    return {problem.code for problem in gates(observed, host, limits)}


# ---------------------------------------------------------------------------------------------------------------------- redirects


def copying(**sources: str) -> Observed:
    observed = three()
    for host, source in sources.items():
        observed = change(observed, f"{host}:27017", source=f"{source}:27017")
    return observed


@pytest.mark.parametrize(
    ("sources", "leaving", "wanted"),
    [
        pytest.param({"m2": "m1", "m3": "m1"}, "m1", [("m3", "m2")], id="one of two stays with the primary"),
        pytest.param({"m2": "m1", "m3": "m2"}, "m1", [], id="a chain behind the successor is left alone"),
        pytest.param({"m2": "m3", "m3": "m1"}, "m1", [("m2", "m1"), ("m3", "m2")], id="a chain is turned round"),
        pytest.param({"m3": "m1"}, "m1", [("m2", "m1"), ("m3", "m2")], id="a successor without a source gets one first"),
        pytest.param({"m2": "m1", "m3": "m2"}, "m2", [("m3", "m1")], id="who copies from a secondary that goes"),
        pytest.param({"m2": "m1", "m3": "m1"}, "m2", [], id="nobody copies from it"),
    ],
)
def test_nobody_is_left_without_a_source(sources: dict[str, str], leaving: str, wanted: list[tuple[str, str]]) -> None:
    steps = redirects(copying(**sources), f"{leaving}:27017")
    assert [(step.host.partition(":")[0], step.source.partition(":")[0]) for step in steps] == wanted


def test_only_a_possible_primary_is_the_successor() -> None:
    observed = change(copying(m2="m1", m3="m1"), "m2:27017", priority=0.0)
    assert [(step.host, step.source) for step in redirects(observed, "m1:27017")] == [("m2:27017", "m3:27017")]
    assert redirects(change(observed, "m3:27017", priority=0.0), "m1:27017") == []


@given(data=st.data(), count=st.integers(min_value=2, max_value=7))
def test_after_the_redirects_every_way_leads_to_the_one_that_has_everything(data: st.DataObject, count: int) -> None:
    """Sources form a tree under the primary, as in any set that replicates; then a member goes."""
    members = [Member(host="m0:27017", state="PRIMARY")]
    for number in range(1, count):
        source = data.draw(st.integers(min_value=0, max_value=number - 1))
        priority = data.draw(st.sampled_from([0.5, 1.0, 2.0]))
        members.append(Member(host=f"m{number}:27017", state="SECONDARY", source=f"m{source}:27017", priority=priority))
    shuffled = data.draw(st.permutations(members))
    leaving = data.draw(st.sampled_from(shuffled))
    observed = Observed(tuple(shuffled))
    sources = {one.host: one.source for one in shuffled if one is not leaving}
    steps = redirects(observed, leaving.host)
    sources |= {step.host: step.source for step in steps}

    ends = set()
    for host in sources:
        way = [host]
        while sources.get(way[-1]) and sources[way[-1]] != leaving.host:
            way.append(sources[way[-1]])
            assert len(way) <= count, f"a ring: {way}"
        ends.add(way[-1])
    assert len(ends) <= 1, "two members would look for a source"
    if leaving.state != "PRIMARY":
        assert ends <= {"m0:27017"}
    elif len(ends) and count > 2:
        (heir,) = ends
        assert all(observed.by_host[heir].priority >= observed.by_host[host].priority for host in sources)
    after = Observed(tuple(replace(one, source=sources.get(one.host, one.source)) for one in shuffled))
    assert redirects(after, leaving.host) == []


# ------------------------------------------------------------------------------------------------------------------------- gates


def test_a_healthy_set_lets_any_member_go() -> None:
    assert [codes(three(), f"m{n}:27017") for n in (1, 2, 3)] == [set(), set(), set()]


@pytest.mark.parametrize(
    ("change_of_third", "code"),
    [
        ({"state": "RECOVERING"}, "unhealthy"),
        ({"state": "STARTUP2"}, "majority_lost"),
        ({"lag": 11.0}, "lagging"),
        ({"oplog_hours": 0.5}, "oplog_too_short"),
        ({"building": ("linda.messages",)}, "index_build"),
    ],
)
def test_each_gate_has_a_code(change_of_third: dict[str, object], code: str) -> None:
    assert code in codes(change(three(), "m3:27017", **change_of_third))


def test_limits_are_inputs() -> None:
    slow = change(three(), "m3:27017", lag=11.0, oplog_hours=0.5)
    assert codes(slow, limits=Limits(max_lag=20, min_oplog_hours=0.1)) == set()


def test_an_oplog_that_was_never_full_is_long_enough() -> None:
    assert codes(change(three(), "m3:27017", oplog_hours=None)) == set()


def test_nobody_goes_without_a_primary() -> None:
    assert "no_primary" in codes(three(state="SECONDARY"))


def test_a_member_that_is_down_may_go_whatever_the_others_do() -> None:
    assert codes(change(three(state=DOWN), "m2:27017", state=DOWN)) == set()


def test_a_stranger_is_named() -> None:
    (problem,) = gates(three(), "m9:27017", LIMITS)
    assert problem.code == "not_a_member"
    assert problem.lasting
    assert "m9:27017" in problem.message


def test_a_set_of_two_voters_never_loses_one_by_us() -> None:
    pair = Observed(three().members[:2])
    problems = gates(pair, "m2:27017", LIMITS)
    assert [(problem.code, problem.lasting) for problem in problems] == [("majority_lost", True)]


def test_the_only_electable_member_does_not_step_down() -> None:
    lonely = change(change(three(), "m2:27017", priority=0.0), "m3:27017", priority=0.0)
    assert ("no_successor", True) in [(problem.code, problem.lasting) for problem in gates(lonely, "m1:27017", LIMITS)]
    assert codes(lonely, "m2:27017") == set()


# ------------------------------------------------------------------------------------------------------------------ what is left


def test_secondaries_go_first_and_the_primary_steps_down_last() -> None:
    observed = change(three(), "m2:27017", priority=5.0)
    steps = [(step.action, step.host) for step in plan(observed, Target(version="6.0.27"))]
    assert steps == [("roll", "m3:27017"), ("roll", "m2:27017"), ("step_down", "m1:27017"), ("roll", "m1:27017")]


def test_a_member_that_is_down_goes_before_all_others() -> None:
    observed = change(three(), "m3:27017", state=DOWN, version=None, started=None)
    assert order(observed, Target(started_after=50)) == ["m3:27017"]
    assert order(observed, Target(version="6.0.27")) == ["m3:27017", "m2:27017", "m1:27017"]


@pytest.mark.parametrize(
    ("values", "target", "words"),
    [
        ({}, Target(version="6.0.27"), "runs 6.0.5, not 6.0.27"),
        ({}, Target(started_after=100.0), "since the request"),
        ({"changed": 100.0}, Target(), "before its files changed"),
        ({"due": True}, Target(), "to be changed"),
        ({"security": ("allowTLS", "keyFile")}, Target(security=("preferTLS", "keyFile")), "allowTLS/keyFile, not preferTLS/keyFile"),
        ({"state": "RECOVERING"}, Target(), "is RECOVERING"),
        ({"version": None}, Target(version="6.0.5"), "version is not known"),
    ],
)
def test_why_a_member_is_pending_is_said(values: dict[str, object], target: Target, words: str) -> None:
    assert words in "; ".join(missing(three(**values).members[0], target))


def test_who_shows_the_target_already_is_left_alone() -> None:
    target = Target(version="6.0.5", started_after=99.0, security=("requireTLS", "sendX509"))
    assert plan(three(changed=98.0), target) == []


# --------------------------------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("running", "compatible", "wanted", "code"),
    [
        ("6.0.27", "6.0", "6.0.5", "downgrade"),
        ("6.0.5", "6.0", "5.0.31", "downgrade"),
        ("5.0.4", "5.0", "7.0.14", "skips_major"),
        ("4.4.29", "4.4", "6.0.27", "skips_major"),
        ("5.0.4", "4.4", "6.0.27", "feature_compatibility"),
        ("6.0.5", "6.0", "6.1.0", "unknown_series"),
        ("6.0.5", "6.0", "six", "bad_version"),
    ],
)
def test_versions_that_are_not_the_next_one(running: str, compatible: str, wanted: str, code: str) -> None:
    observed = Observed(tuple(replace(one, version=running) for one in three().members), compatible)
    with pytest.raises(MongodbError) as caught:
        plan(observed, Target(version=wanted))
    assert caught.value.code == code


def test_an_upgrade_that_was_interrupted_between_two_series_goes_on() -> None:
    mixed = change(change(three(version="5.0.4"), "m2:27017", version="5.0.4"), "m3:27017", version="6.0.27")
    steps = plan(replace(mixed, feature_compatibility="5.0"), Target(version="6.0.27"))
    assert [step.host for step in steps if step.action == "roll"] == ["m2:27017", "m1:27017"]


def test_the_feature_compatibility_version_follows_all_binaries_by_one_step() -> None:
    done = replace(three(), feature_compatibility="5.0")
    assert refuse_feature_compatibility(done, "6.0")
    assert not refuse_feature_compatibility(three(), "6.0")
    for observed, wanted, code in [
        (change(done, "m2:27017", version="5.0.4"), "6.0", "mixed_versions"),
        (change(done, "m2:27017", state=DOWN), "6.0", "unhealthy"),
        (done, "7.0", "mixed_versions"),
        (done, "6", "unknown_series"),
        (replace(done, feature_compatibility="4.4"), "6.0", "skips_major"),
        (replace(three(version="5.0.4"), feature_compatibility="6.0"), "5.0", "mixed_versions"),
    ]:
        with pytest.raises(MongodbError) as caught:
            refuse_feature_compatibility(observed, wanted)
        assert caught.value.code == code


# ---------------------------------------------------------------------------------------------------------------------- ladders


def test_what_is_off_the_ladder_is_refused() -> None:
    assert rung(("requireTLS", "undefined")) == rung(("requireTLS", "keyFile"))
    with pytest.raises(MongodbError) as caught:
        rung(("allowTLS", "x509"))
    assert caught.value.code == "off_the_ladder"


def test_a_step_that_is_left_out_is_refused() -> None:
    observed = Observed(tuple(replace(one, security=("requireTLS", "keyFile")) for one in three().members))
    with pytest.raises(MongodbError) as caught:
        plan(observed, Target(security=("requireTLS", "x509")))
    assert caught.value.code == "skips_step"
    assert len(plan(observed, Target(security=("requireTLS", "sendKeyFile")))) == 4


def test_the_way_back_is_refused() -> None:
    with pytest.raises(MongodbError) as caught:
        rounds([3, 2], 1)
    assert caught.value.code == "cannot_descend"


@given(low=st.integers(0, len(SECURITY_LADDER) - 1), spread=st.lists(st.integers(0, 1), min_size=1, max_size=7), goal=st.integers(0, 7))
def test_rounds_keep_any_two_members_within_one_rung(low: int, spread: list[int], goal: int) -> None:
    positions = [low + more for more in spread]
    goal = max(goal, *positions)
    for place in rounds(positions, goal):
        for index, position in enumerate(positions):
            if position < place:
                positions[index] = place
            assert max(positions) - min(positions) <= 1
    assert set(positions) <= {goal}


# ------------------------------------------------------------------------------------------------------------------- properties


@st.composite
def sets(draw: st.DrawFn) -> Observed:
    """Sets of three to seven members as a run or its wreck may find them: mixed versions and ages, at most one member down."""
    count = draw(st.integers(3, 7))
    down = draw(st.none() | st.integers(0, count - 1))
    primary = draw(st.integers(0, count - 1).filter(lambda n: n != down))
    members = []
    for number in range(count):
        idle = number != primary and draw(st.booleans())
        members.append(
            Member(
                host=f"m{number}:27017",
                state=DOWN if number == down else "PRIMARY" if number == primary else "SECONDARY",
                voter=number < 3 or not idle,
                priority=0.0 if idle else draw(st.sampled_from([0.5, 1.0, 2.0])),
                version=None if number == down else draw(st.sampled_from(["6.0.5", "6.0.27"])),
                started=None if number == down else draw(st.sampled_from([10.0, 20.0])),
                changed=draw(st.sampled_from([None, 5.0, 15.0])),
                security=draw(st.sampled_from(SECURITY_LADDER[3:5])),
            )
        )
    return Observed(tuple(members), "6.0")


TARGETS = st.builds(
    Target,
    version=st.sampled_from([None, "6.0.27"]),
    started_after=st.sampled_from([None, 12.0]),
    security=st.sampled_from([None, SECURITY_LADDER[4]]),
)


@given(observed=sets(), target=TARGETS)
def test_the_plan_reaches_the_target_and_then_is_empty(observed: Observed, target: Target) -> None:
    for step in plan(observed, target):
        observed = advance(observed, step, target)
    assert plan(observed, target) == []
    assert all(missing(member, target) == [] for member in observed.members)


@given(observed=sets(), target=TARGETS)
def test_each_member_is_rolled_at_most_once_and_only_if_it_lacks_something(observed: Observed, target: Target) -> None:
    rolled = [step.host for step in plan(observed, target) if step.action == "roll"]
    assert len(rolled) == len(set(rolled))
    assert set(rolled) == set(order(observed, target))


@given(observed=sets(), target=TARGETS)
def test_every_prefix_leaves_a_set_that_serves(observed: Observed, target: Target) -> None:
    """In the model: who is rolled is down meanwhile. What passes the gates never takes majority or primary away."""
    for step in plan(observed, target):
        member = observed.by_host[step.host]
        problems = gates(observed, step.host, LIMITS)
        assert not any(problem.code == "unhealthy" for problem in problems), "members that are down go first"
        if step.action == "roll" and member.up and not problems:
            during = [replace(one, state=DOWN) if one.host == step.host else one for one in observed.members]
            assert sum(one.voter and one.up for one in during) * 2 > sum(one.voter for one in during)
            assert any(one.state == "PRIMARY" for one in during), "the primary steps down before it is stopped"
        observed = advance(observed, step, target)
        assert observed.primary is not None


@given(observed=sets(), target=TARGETS)
def test_a_run_that_dies_after_any_step_goes_on_where_it_stopped(observed: Observed, target: Target) -> None:
    whole = plan(observed, target)
    state = observed
    for number, step in enumerate(whole):
        assert next_step(state, target) == step
        state = advance(state, step, target)
        assert plan(state, target) == whole[number + 1 :]


@given(running=st.sampled_from(SERIES), wanted=st.sampled_from(SERIES))
def test_only_the_same_and_the_next_series_are_accepted(running: str, wanted: str) -> None:
    observed = Observed(tuple(replace(one, version=f"{running}.4") for one in three().members), running)
    distance = SERIES.index(wanted) - SERIES.index(running)
    if distance in (0, 1):
        refuse_version(observed, f"{wanted}.9")
        return
    with pytest.raises(MongodbError) as caught:
        refuse_version(observed, f"{wanted}.9")
    assert caught.value.code == ("downgrade" if distance < 0 else "skips_major")
