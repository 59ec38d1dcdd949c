"""The planner of mongodb_replset: refusals by name, and properties over generated clusters in a model of the server's rules."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import (
    Desired,
    Health,
    Member,
    Observed,
    Probe,
    Step,
    canonical_host,
    parse_desired,
    picture,
    plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# --------------------------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("given_host", "canonical"),
    [
        ("mongo1.example.net", "mongo1.example.net:27017"),
        ("Mongo1.Example.NET:27018", "mongo1.example.net:27018"),
        ("192.0.2.7", "192.0.2.7:27017"),
        ("2001:db8::7", "[2001:db8::7]:27017"),
        ("[2001:DB8::7]:1", "[2001:db8::7]:1"),
        (" a:00027 ", "a:27"),
    ],
)
def test_hosts_have_one_form(given_host: str, canonical: str) -> None:
    assert canonical_host(given_host) == canonical
    assert canonical_host(canonical) == canonical


@pytest.mark.parametrize(
    "bad", ["", ":27017", "a b", "a:", "a:0", "a:65536", "a:x", "[::1", "[zz]:1", "a/b", "http://a", "-a", "a..b", "a:²"]
)
def test_bad_hosts_are_refused(bad: str) -> None:
    with pytest.raises(MongodbError) as caught:
        canonical_host(bad)
    assert caught.value.code == "bad_host"


@pytest.mark.parametrize(
    ("code", "members"),
    [
        ("empty_members", []),
        ("duplicate_member", ["a", "A:27017", "b"]),
        ("even_voters", ["a", "b"]),
        ("even_voters", ["a", "b", "c", {"host": "d", "votes": 1}]),
        ("even_voters", [{"host": "a", "votes": 0}]),
        ("too_many_voters", [f"m{number}" for number in range(9)]),
        ("too_many_members", ["m", *({"host": f"n{number}", "votes": 0} for number in range(50))]),
        ("no_electable_member", [{"host": host, "priority": 0} for host in "abc"]),
        ("mixed_loopback", ["localhost", "b", "c"]),
        ("bad_host", ["a", "b", "c:99999"]),
        ("bad_member", ["a", "b", 7]),
        ("bad_member", ["a", "b", {"name": "c"}]),
        ("bad_member", ["a", "b", {"host": "c", "prioritty": 2}]),
        ("bad_member", ["a", "b", {"host": "c", "priority": 1001}]),
        ("bad_member", ["a", "b", {"host": "c", "priority": "high"}]),
        ("bad_member", ["a", "b", {"host": "c", "votes": 2}]),
        ("bad_member", ["a", "b", {"host": "c", "votes": 0, "priority": 1}]),
        ("bad_member", ["a", "b", {"host": "c", "hidden": True, "priority": 1}]),
        ("bad_member", ["a", "b", {"host": "c", "hidden": "perhaps"}]),
        ("bad_member", ["a", "b", {"host": "c", "delay": 60, "priority": 1}]),
        ("bad_member", ["a", "b", {"host": "c", "delay": 1, "slaveDelay": 2}]),
        ("bad_member", ["a", "b", {"host": "c", "tags": "east"}]),
        ("bad_member", ["a", "b", {"host": "c", "arbiter": True, "delay": 60}]),
        ("bad_member", ["a", "b", {"host": "c", "arbiter": True, "tags": {"dc": "east"}}]),
        ("bad_member", ["a", "b", {"host": "c", "arbiter": True, "hidden": True}]),
        ("bad_member", ["a", "b", {"host": "c", "arbiter": True, "build_indexes": False}]),
        ("bad_member", ["a", "b", {"host": "c", "arbiterOnly": True, "votes": 0}]),
        ("bad_member", ["a", "b", {"host": "c", "arbiter": True, "priority": 1}]),
        ("bad_member", ["a", "b", {"host": "c", "renamed_from": 7}]),
        ("too_many_arbiters", ["a", {"host": "b", "arbiter": True}, {"host": "c", "arbiter": True}]),
        ("bad_horizons", ["a", "b", {"host": "c", "horizons": {"out": "c.example.net:1"}}]),
        ("bad_horizons", [{"host": "a", "horizons": {"out": "192.0.2.1:1"}}]),
        ("bad_horizons", [{"host": "a", "horizons": {"__default": "x:1"}}]),
        ("bad_horizons", [{"host": "a", "horizons": {"out": "a"}}]),
        ("bad_horizons", [{"host": host, "horizons": {"out": "x:1"}} for host in "abc"]),
        ("bad_host", [{"host": "a", "horizons": {"out": "x:0"}}]),
        ("bad_rename", ["a", "b", {"host": "c", "renamed_from": "b"}]),
        ("bad_rename", ["a", {"host": "b", "renamed_from": "x"}, {"host": "c", "renamed_from": "X:27017"}]),
    ],
)
def test_bad_descriptions_are_refused(code: str, members: list[Any]) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_desired("rs0", members, {})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("bad_setting", {"settings": {"election_timeout_millis": 0}}),
        ("bad_setting", {"settings": {"heartbeat_interval_millis": -5}}),
        ("bad_setting", {"settings": {"heartbeat_timeout_secs": 0}}),
        ("bad_setting", {"settings": {"catch_up_timeout_millis": -2}}),
        ("bad_setting", {"settings": {"catch_up_takeover_delay_millis": -2}}),
        ("bad_write_concern", {"write_concern": "0"}),
        ("bad_write_concern", {"write_concern": "-1"}),
        ("bad_write_concern", {"write_concern": " "}),
        ("bad_member", {"arbiter_at_index": 3}),
        ("bad_member", {"arbiter_at_index": -1}),
    ],
)
def test_bad_options_are_refused(code: str, options: dict[str, Any]) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_desired("rs0", ["a", "b", "c"], **{"settings": {}, **options})
    assert caught.value.code == code


def test_an_arbiter_is_named_in_three_ways() -> None:
    ways = [
        parse_desired("rs0", ["a", "b", {"host": "c", "arbiter": True}], {}),
        parse_desired("rs0", ["a", "b", {"host": "c", "arbiterOnly": "yes"}], {}),
        parse_desired("rs0", ["a", "b", "c"], {}, arbiter_at_index=2),
        parse_desired("rs0", [{"host": "a"}, {"host": "b"}, {"host": "c", "priority": 0}], {}, arbiter_at_index=2),
    ]
    assert all(one == ways[0] for one in ways)
    assert ways[0].members[2] == Member("c:27017", arbiter=True, priority=0.0)


def test_more_than_seven_voters_are_refused_by_name_or_the_last_lose_their_vote_when_asked() -> None:
    hosts: list[Any] = [f"m{number}" for number in range(7)]
    with pytest.raises(MongodbError, match=r"9 voters; .* Give m7:27017, m8:27017 votes: 0, or set beyond_seven to no_vote"):
        parse_desired("rs0", [*hosts, "m7", {"host": "m8", "priority": 2}], {})
    taken = parse_desired("rs0", [*hosts, "m7", {"host": "m8", "priority": 2}], {}, beyond_seven="no_vote").members
    assert [(member.votes, member.priority) for member in taken] == [(1, 1.0)] * 7 + [(0, 0.0)] * 2
    named = parse_desired("rs0", [*hosts, {"host": "m7", "votes": 1}, {"host": "m8", "arbiter": True}], {}, beyond_seven="no_vote").members
    assert [member.votes for member in named] == [1, 1, 1, 1, 1, 0, 0, 1, 1]
    with pytest.raises(MongodbError) as caught:
        parse_desired("rs0", [{"host": host, "votes": 1} for host in [*hosts, "m7", "m8"]], {}, beyond_seven="no_vote")
    assert caught.value.code == "too_many_voters"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a,b"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(MongodbError) as caught:
        parse_desired(name, ["a"], {})
    assert caught.value.code == "bad_name"


def test_a_message_names_the_member_and_the_remedy() -> None:
    with pytest.raises(MongodbError, match=r"mongo2:27017 is hidden and so must have priority 0, not 2\."):
        parse_desired("rs0", ["mongo1", {"host": "mongo2", "hidden": True, "priority": 2}, "mongo3"], {})


def test_numbers_given_as_text_are_read() -> None:
    (member,) = parse_desired("rs0", [{"host": "a", "priority": "2", "votes": "1", "tags": {"dc": 1}}], {}).members
    assert member == Member("a:27017", priority=2.0, tags=(("dc", "1"),))


def test_a_member_survives_the_way_to_the_server_and_back() -> None:
    document = {
        "_id": 4,
        "host": "a:27017",
        "arbiterOnly": False,
        "buildIndexes": True,
        "hidden": True,
        "priority": 0,
        "tags": {"dc": "east"},
        "secondaryDelaySecs": 60,
        "votes": 0,
        "horizons": {"x": "y:1"},
    }
    assert Member.from_document(document).document() == document


# --------------------------------------------------------------------------------------------------------------------- a model


@dataclass
class Model:
    """A replica set that keeps the server's own rules and breaks when a step breaks them. Independent of the planner."""

    members: dict[str, Member] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    behind: set[str] = field(default_factory=set)
    primary: str | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - a test's dice
    ids_ever: dict[int, str] = field(default_factory=dict)
    reconfigurations: int = 0
    write_concern: str | int = "majority"
    write_concern_set: bool = False

    def observe(self) -> Observed:
        if self.members is None:
            return Observed()
        health = {host: Health(up=host not in self.down, caught_up=host not in self.down | self.behind) for host in self.members}
        return Observed(
            name="rs",
            members=tuple(self.members.values()),
            settings=dict(self.settings),
            health=health,
            primary=self.primary,
            highest_id=max(self.ids_ever),
            write_concern=self.write_concern,
            write_concern_set=self.write_concern_set,
        )

    def voters(self) -> set[str]:
        return {host for host, member in (self.members or {}).items() if member.votes}

    def apply(self, step: Step) -> None:
        if step.action == "initiate":
            assert self.members is None
            self._take(step)
            self.elect()
        elif step.action == "wait_caught_up":
            assert step.host is not None
            assert step.host not in self.down
            self.behind.discard(step.host)
        elif step.action == "step_down":
            assert step.host == self.primary
            able = [host for host in self.electable() if host != self.primary and host not in self.behind]
            assert able, "no caught-up successor"
            self.elect(without=step.host)
        elif step.action == "set_default_write_concern":
            assert step.write_concern is not None
            self.write_concern, self.write_concern_set = step.write_concern, True
        elif step.action == "rename":
            self._rename(step)
        else:
            self._reconfigure(step)
        self.check()

    def _rename(self, step: Step) -> None:
        before = {member.id: member for member in (self.members or {}).values()}
        changed = [(before[member.id], member) for member in step.members if before[member.id] != member]
        ((old, new),) = changed
        assert new == replace(old, host=str(step.host)), "a rename changes the name of one member and nothing else"
        if old.host == self.primary:
            assert self.electable() == [old.host], "the primary was renamed while another could lead"
        elif old.votes and old.host not in self.down:
            self.down.add(old.host)
            assert self.majority_is_up(), "the majority is lost if the renamed member does not come back"
            self.down.discard(old.host)
        assert new.id is not None
        self.ids_ever[new.id] = new.host
        self.down.discard(old.host)
        self.behind = {new.host if host == old.host else host for host in self.behind}
        self.primary = new.host if self.primary == old.host else self.primary
        self._take(step)
        self.reconfigurations += 1

    def _reconfigure(self, step: Step) -> None:
        before = dict(self.members or {})
        voters_before, strength_before = self.voters(), self.writes_are_acknowledged()
        arbiters_before = self.arbiters()
        assert self.majority_is_up(), "the server would not accept a reconfiguration without a majority"
        self._take(step)
        self.reconfigurations += 1
        assert len(voters_before ^ self.voters()) <= 1, "two voters changed at once"
        if voters_before != self.voters() and arbiters_before | self.arbiters():
            assert self.write_concern_set, "the implicit default write concern would change"
        starting: set[str] = set()
        for host, member in (self.members or {}).items():
            if host in before:
                assert before[host].id == member.id, "an _id changed"
                assert before[host].arbiter == member.arbiter, "the server refuses this change"
                if member.votes > before[host].votes:
                    assert host not in self.behind | self.down, "a vote for a member that has not caught up"
            elif member.arbiter:
                starting.add(host)
            else:
                assert member.votes == 0, "a new member with a vote"
                assert member.priority == 0
                self.behind.add(host)
        assert self.primary in self.electable(), "the primary was removed or made unelectable"
        self.down |= starting
        assert self.majority_is_up(), "the majority hangs on an arbiter that has not started"
        self.down -= starting
        assert self.writes_are_acknowledged() >= strength_before, "writes of the majority were acknowledged before, and now are not"

    def _take(self, step: Step) -> None:
        hosts = [member.host for member in step.members]
        ids = [member.id for member in step.members]
        assert len(set(hosts)) == len(hosts)
        assert len(set(ids)) == len(ids)
        for member in step.members:
            assert member.id is not None
            assert self.ids_ever.setdefault(member.id, member.host) == member.host, "an _id was given to another host"
        self.members = {member.host: member for member in step.members}
        self.settings = dict(step.settings)

    def arbiters(self) -> set[str]:
        return {host for host, member in (self.members or {}).items() if member.arbiter}

    def electable(self) -> list[str]:
        return [host for host, member in (self.members or {}).items() if member.votes and member.priority > 0 and host not in self.down]

    def elect(self, without: str | None = None) -> None:
        """Anybody who may lead can win: the planner has to live with it."""
        able = [host for host in self.electable() if host != without and host not in self.behind]
        self.primary = self.chance.choice(able)

    def majority_is_up(self) -> bool:
        return 2 * len(self.voters() - self.down) > len(self.voters())

    def writes_are_acknowledged(self) -> bool:
        holders = self.voters() - self.arbiters()
        return len(holders - self.down) >= min(len(self.voters()) // 2 + 1, len(holders))

    def check(self) -> None:
        assert self.majority_is_up(), "the majority is lost"
        assert len(self.voters()) <= 7
        assert len(self.arbiters()) <= 1
        assert self.electable()
        members = (self.members or {}).values()
        assert len({tuple(name for name, _address in member.horizons) for member in members}) == 1, "different horizons"
        addresses = [address for member in members for _name, address in member.horizons]
        if addresses:
            addresses += [member.host for member in members]
        assert len(set(addresses)) == len(addresses), "an address is used twice"

    def is_like(self, desired: Desired) -> bool:
        members = self.members or {}
        same = {host: replace(member, id=None) for host, member in members.items()} == {member.host: member for member in desired.members}
        concern = desired.write_concern is None or (self.write_concern_set and self.write_concern == desired.write_concern)
        return same and concern and all(self.settings.get(key) == value for key, value in desired.settings.items())


NAMES = [f"m{number}:27017" for number in range(12)]


@st.composite
def descriptions(draw: st.DrawFn) -> Desired:
    voters = draw(st.sampled_from([1, 3, 3, 3, 5, 5, 7]))
    others = draw(st.integers(0, 2))
    order = draw(st.permutations(NAMES))
    hosts, spare = order[: voters + others], order[voters + others :]
    arbiter = draw(st.sampled_from([None, None, 2])) if voters > 1 else None
    horizons = draw(st.sampled_from([(), (), ("out",), ("out", "vpn")]))
    members: list[Member] = []
    for place, host in enumerate(hosts):
        tags = draw(st.sampled_from([(), (("dc", "east"),), (("dc", "west"),)]))
        # The addresses go by place, so that they pass from one machine to another; some are names that members had or will have.
        seen_as = tuple((name, spare[0] if place == 1 and name == "out" else f"{name}{place}.example.net:1") for name in horizons)
        if place >= voters:
            hidden, delay = draw(st.booleans()), draw(st.sampled_from([0, 3600]))
            members.append(Member(host, votes=0, priority=0.0, hidden=hidden, delay=delay, tags=tags, horizons=seen_as))
        elif place == arbiter:
            members.append(Member(host, priority=0.0, arbiter=True, horizons=seen_as))
        else:
            priority = draw(st.sampled_from([1.0, 1.0, 2.0, 0.5, 0.0])) if place else 1.0
            members.append(Member(host, priority=priority, hidden=priority == 0 and draw(st.booleans()), tags=tags, horizons=seen_as))
    chosen = draw(st.sampled_from([{}, {"electionTimeoutMillis": 5000}, {"chainingAllowed": False, "heartbeatTimeoutSecs": 5}]))
    return Desired("rs", tuple(draw(st.permutations(members))), chosen, draw(st.sampled_from([None, None, "majority", 2])))


@st.composite
def changes(draw: st.DrawFn) -> tuple[Desired, Desired]:
    """Two descriptions. In the second, machines that changed their kind have another name, and some were only renamed."""
    first, second = draw(descriptions()), draw(descriptions())
    kinds = {member.host: member.arbiter for member in first.members}
    second = replace(
        second,
        members=tuple(
            replace(member, host=f"n{member.host}") if kinds.get(member.host, member.arbiter) != member.arbiter else member
            for member in second.members
        ),
    )
    named = {member.host for member in second.members}
    leaving = [member for member in first.members if member.host not in named]
    members: list[Member] = []
    for member in second.members:
        old = next((one for one in leaving if one.arbiter == member.arbiter), None)
        if member.host not in kinds and old is not None and draw(st.booleans()):
            leaving.remove(old)
            member = replace(member, renamed_from=old.host)
        members.append(member)
    return first, replace(second, members=tuple(members))


def built(desired: Desired, seed: int) -> Model:
    model = Model(chance=random.Random(seed))  # noqa: S311 - a test's dice
    model.apply(plan(desired, model.observe())[0])
    converge(model, desired)
    return model


def converge(model: Model, desired: Desired, *, steps: int = 200) -> int:
    """Do as the module does: plan, first step, plan again. Returns the number of steps."""
    for done in range(steps):
        todo = plan(desired, model.observe())
        if not todo:
            return done
        model.apply(todo[0])
    raise AssertionError("it does not come to an end")


@settings(max_examples=150, deadline=None)
@given(changes(), st.integers(0, 2**16))
def test_a_healthy_set_reaches_any_description_safely(change: tuple[Desired, Desired], seed: int) -> None:
    first, second = change
    model = built(first, seed)
    assert plan(first, model.observe()) == []
    converge(model, second)
    assert model.is_like(second)
    assert plan(second, model.observe()) == []
    settled = model.reconfigurations
    converge(model, second)
    assert model.reconfigurations == settled


@settings(max_examples=150, deadline=None)
@given(changes(), st.integers(0, 2**16), st.integers(0, 30))
def test_a_run_that_dies_anywhere_is_finished_by_the_next_one(change: tuple[Desired, Desired], seed: int, dies_after: int) -> None:
    first, second = change
    model = built(first, seed)
    for _number in range(dies_after):
        for step in plan(second, model.observe())[:1]:
            model.apply(step)
    if seed % 3 == 0:
        model.elect()
    converge(model, second)
    assert model.is_like(second)


@settings(max_examples=100, deadline=None)
@given(changes(), st.integers(0, 2**16))
def test_the_shown_plan_is_the_road_when_elections_go_as_predicted(change: tuple[Desired, Desired], seed: int) -> None:
    first, second = change
    model = built(first, seed)
    shown = plan(second, model.observe())
    walked = []
    while todo := plan(second, model.observe()):
        walked.append(todo[0])
        model.apply(todo[0])
        if todo[0].action == "step_down":
            able = [member for member in (model.members or {}).values() if member.host in model.electable() and member.host != todo[0].host]
            model.primary = max(able, key=lambda member: (member.priority, member.host not in model.behind)).host
    assert walked == shown


@settings(max_examples=200, deadline=None)
@given(changes(), st.integers(0, 2**16), st.data())
def test_with_members_down_it_is_done_safely_or_refused_with_a_reason(
    change: tuple[Desired, Desired], seed: int, data: st.DataObject
) -> None:
    first, second = change
    model = built(first, seed)
    voters = sorted(model.voters())
    model.down = set(data.draw(st.lists(st.sampled_from(voters), max_size=(len(voters) - 1) // 2, unique=True)))
    if model.primary in model.down:
        if not model.electable():
            return
        model.elect()
    for _number in range(200):
        try:
            todo = plan(second, model.observe())
        except MongodbError as problem:
            refusal: MongodbError | None = problem
            break
        if not todo or (todo[0].action == "wait_caught_up" and todo[0].host in model.down):
            refusal = None  # done, or the module waits and says so when the time is over
            break
        model.apply(todo[0])
    else:
        raise AssertionError("it does not come to an end")
    assert model.majority_is_up()
    if refusal is not None:
        assert refusal.code in ("majority_lost", "no_successor")
        assert model.down, "a healthy set is never refused"
    elif not todo:
        assert model.is_like(second)


def three() -> Model:
    return built(parse_desired("rs", ["a", "b", "c"], {}), 1)


def reasons(steps: list[Step]) -> list[tuple[str, str | None]]:
    return [(step.action, step.host) for step in steps]


def test_growing_by_two_adds_waits_and_promotes_one_after_the_other() -> None:
    model = three()
    wanted = parse_desired("rs", ["a", "b", "c", "d", "e"], {})
    assert reasons(plan(wanted, model.observe())) == [
        ("reconfigure", "d:27017"),
        ("wait_caught_up", "d:27017"),
        ("reconfigure", "d:27017"),
        ("reconfigure", "e:27017"),
        ("wait_caught_up", "e:27017"),
        ("reconfigure", "e:27017"),
    ]


def test_a_removed_primary_hands_over_and_goes_last() -> None:
    model = three()
    model.primary = "a:27017"
    steps = plan(parse_desired("rs", ["c"], {}), model.observe())
    assert reasons(steps) == [("reconfigure", "b:27017"), ("step_down", "a:27017"), ("reconfigure", "a:27017")]


def test_a_member_with_priority_taken_away_hands_over_first() -> None:
    model = three()
    model.primary = "a:27017"
    steps = plan(parse_desired("rs", [{"host": "a", "priority": 0}, "b", "c"], {}), model.observe())
    assert reasons(steps) == [("step_down", "a:27017"), ("reconfigure", None)]
    assert [member.priority for member in steps[1].members] == [0, 1, 1]


def test_a_dead_member_is_replaced_without_a_smaller_majority() -> None:
    model = three()
    model.primary = "a:27017"
    model.down = {"c:27017"}
    steps = plan(parse_desired("rs", ["a", "b", "d"], {}), model.observe())
    assert reasons(steps) == [
        ("reconfigure", "d:27017"),
        ("wait_caught_up", "d:27017"),
        ("reconfigure", "d:27017"),
        ("reconfigure", "c:27017"),
    ]


def test_a_plan_that_loses_the_majority_is_refused() -> None:
    model = built(parse_desired("rs", list("abcde"), {}), 1)
    model.primary = "a:27017"
    model.down = {"d:27017", "e:27017"}
    with pytest.raises(MongodbError, match="c:27017 cannot go while d:27017, e:27017 is down") as caught:
        plan(parse_desired("rs", ["a", "d", "e"], {}), model.observe())
    assert caught.value.code == "majority_lost"


def test_a_primary_without_a_successor_stays() -> None:
    model = three()
    model.primary = "a:27017"
    model.down = {"c:27017"}
    with pytest.raises(MongodbError) as caught:
        plan(parse_desired("rs", ["c"], {}), model.observe())
    assert caught.value.code == "no_successor"


def test_seven_voters_are_replaced_one_for_one() -> None:
    model = built(parse_desired("rs", [f"m{number}" for number in range(7)], {}), 1)
    model.primary = "m0:27017"
    wanted = parse_desired("rs", [*(f"m{number}" for number in range(1, 7)), "new"], {})
    assert reasons(plan(wanted, model.observe()))[:4] == [
        ("reconfigure", "new:27017"),
        ("wait_caught_up", "new:27017"),
        ("step_down", "m0:27017"),
        ("reconfigure", "m0:27017"),
    ]


@settings(max_examples=25, deadline=None)
@given(st.permutations(NAMES), st.integers(0, 5), st.integers(0, 2**16))
def test_no_way_from_seven_voters_to_seven_others_passes_through_eight(order: list[str], kept: int, seed: int) -> None:
    first = Desired("rs", tuple(Member(host) for host in order[:7]))
    others = [f"x{number}:27017" for number in range(7 - kept)]
    model = built(first, seed)
    second = Desired("rs", tuple(Member(host) for host in (*order[:kept], *others)))
    converge(model, second)  # the model counts the voters after every step
    assert model.is_like(second)


def test_an_interrupted_promotion_is_resumed() -> None:
    model = three()
    wanted = parse_desired("rs", ["a", "b", "c", "d", "e"], {})
    for _number in range(2):
        model.apply(plan(wanted, model.observe())[0])
    assert reasons(plan(wanted, model.observe()))[0] == ("reconfigure", "d:27017")
    model.behind.add("d:27017")
    left = reasons(plan(wanted, model.observe()))
    assert left[:2] == [("wait_caught_up", "d:27017"), ("reconfigure", "d:27017")]
    assert plan(wanted, model.observe())[1].level == "d:27017"


def test_hosts_are_renamed_one_by_one_those_that_are_down_first_and_the_primary_last() -> None:
    model = three()
    model.primary = "b:27017"
    model.down = {"c:27017"}
    new = [{"host": f"{host}.new", "renamed_from": host} for host in "abc"]
    wanted = parse_desired("rs", new, {})
    steps = plan(wanted, model.observe())
    assert reasons(steps) == [
        ("rename", "c.new:27017"),
        ("rename", "a.new:27017"),
        ("step_down", "b:27017"),
        ("rename", "b.new:27017"),
    ]
    assert [member.id for member in steps[-1].members] == [0, 1, 2]
    converge(model, wanted)
    assert plan(wanted, model.observe()) == []


def test_a_member_is_not_renamed_while_the_others_are_no_majority() -> None:
    model = three()
    model.primary = "a:27017"
    model.down = {"c:27017"}
    with pytest.raises(MongodbError, match=r"b:27017 cannot be renamed to b\.new:27017 while c:27017 is down") as caught:
        plan(parse_desired("rs", ["a", {"host": "b.new", "renamed_from": "b"}, "c"], {}), model.observe())
    assert caught.value.code == "majority_lost"


def test_a_lonely_primary_is_renamed_as_it_is() -> None:
    model = built(parse_desired("rs", ["a"], {}), 1)
    (step,) = plan(parse_desired("rs", [{"host": "b", "renamed_from": "a"}], {}), model.observe())
    assert (step.action, step.host) == ("rename", "b:27017")


def test_the_default_write_concern_is_set_before_an_arbiter_joins_and_then_left_alone() -> None:
    model = three()
    model.primary = "a:27017"
    wanted = parse_desired("rs", ["a", "b", {"host": "d", "arbiter": True}], {})
    assert reasons(plan(wanted, model.observe())) == [
        ("set_default_write_concern", None),
        ("reconfigure", "d:27017"),
        ("reconfigure", "c:27017"),
    ]
    model.write_concern, model.write_concern_set = 2, True
    assert "set_default_write_concern" not in [action for action, _host in reasons(plan(wanted, model.observe()))]
    named = replace(wanted, write_concern="majority")
    assert plan(named, model.observe())[0].write_concern == "majority"


def test_horizons_that_pass_to_another_machine_are_taken_off_first() -> None:
    def seen(host: str, place: int) -> dict[str, Any]:
        return {"host": host, "horizons": {"out": f"db{place}.example.net:1"}}

    model = built(parse_desired("rs", [seen("a", 0), seen("b", 1), seen("c", 2)], {}), 1)
    model.primary = "a:27017"
    wanted = parse_desired("rs", [seen("a", 0), seen("b", 1), seen("d", 2)], {})
    steps = plan(wanted, model.observe())
    assert all(member.horizons == () for member in steps[0].members)
    assert all(member.horizons for member in steps[-1].members)
    converge(model, wanted)
    # An address that nobody had: no need to take anything off.
    steps = plan(parse_desired("rs", [seen("a", 0), seen("b", 1), seen("e", 3)], {}), model.observe())
    assert all(member.horizons for step in steps for member in step.members)


def test_seven_voters_with_three_down_lose_none_that_is_up() -> None:
    model = built(parse_desired("rs", [f"m{number}" for number in range(7)], {}), 1)
    model.primary = "m0:27017"
    model.down = {"m4:27017", "m5:27017", "m6:27017"}
    wanted = parse_desired("rs", ["m0", "m1", "new", "m3", "m4", "m5", "m6"], {})
    refused = None
    for _number in range(5):
        try:
            model.apply(plan(wanted, model.observe())[0])
        except MongodbError as problem:
            refused = problem.code
    assert refused == "majority_lost"


def test_a_successor_that_is_behind_is_waited_for() -> None:
    model = three()
    model.primary = "a:27017"
    model.behind = {"b:27017", "c:27017"}
    steps = plan(parse_desired("rs", [{"host": "a", "priority": 0}, "b", "c"], {}), model.observe())
    assert [action for action, _host in reasons(steps)] == ["wait_caught_up", "step_down", "reconfigure"]


def test_only_named_settings_are_compared_and_the_others_are_kept() -> None:
    model = three()
    model.settings = {"electionTimeoutMillis": 10000, "chainingAllowed": True, "replicaSetId": "x"}
    assert plan(parse_desired("rs", ["a", "b", "c"], {"chaining_allowed": None}), model.observe()) == []
    (step,) = plan(parse_desired("rs", ["a", "b", "c"], {"chaining_allowed": False}), model.observe())
    assert step.settings == {"electionTimeoutMillis": 10000, "chainingAllowed": False, "replicaSetId": "x"}


def test_what_we_do_not_manage_is_carried_along() -> None:
    observed = Observed(
        name="rs",
        members=(Member("a:27017", id=3, other=(("horizons", {"out": "x:1"}),)),),
        health={"a:27017": Health(True, True)},
        primary="a:27017",
        highest_id=3,
    )
    (step,) = plan(parse_desired("rs", [{"host": "a", "priority": 2}], {}), observed)
    assert step.members[0].document()["horizons"] == {"out": "x:1"}
    assert step.members[0].id == 3


@pytest.mark.parametrize(
    ("code", "observed"),
    [
        ("wrong_set", Observed(name="other", members=())),
        ("member_of_other_set", Observed(probes={"b:27017": Probe(True, "elsewhere")})),
        ("member_of_other_set", Observed(probes={"b:27017": Probe(True, "rs", knows_us=False)})),
        ("member_unreachable", Observed(probes={"b:27017": Probe(False)})),
        ("cannot_change", Observed(name="rs", members=(Member("a:27017", id=0, priority=0, arbiter=True),))),
        ("cannot_change", Observed(name="rs", members=(Member("a:27017", id=0, priority=0, build_indexes=False),))),
        ("wrong_member", Observed(name="rs", members=(Member("z:27017", id=0),), probes={"b:27017": Probe(True, "rs", True, "z:27017")})),
    ],
)
def test_what_no_order_makes_right_is_refused(code: str, observed: Observed) -> None:
    with pytest.raises(MongodbError) as caught:
        plan(parse_desired("rs", ["a", "b", "c"], {}), observed)
    assert caught.value.code == code


def test_a_new_name_has_to_be_the_old_members_and_nobody_elses() -> None:
    wanted = parse_desired("rs", [{"host": "b", "renamed_from": "z"}], {})
    members = (Member("z:27017", id=0), Member("y:27017", id=1))
    for code, observed in (
        ("wrong_member", Observed(name="rs", members=members, probes={"b:27017": Probe(True, "rs", True, "y:27017")})),
        ("bad_rename", Observed(name="rs", members=(*members, Member("b:27017", id=2)))),
    ):
        with pytest.raises(MongodbError) as caught:
            plan(wanted, observed)
        assert caught.value.code == code


def test_a_member_that_left_our_set_a_moment_ago_may_come_back() -> None:
    model = three()
    observed = replace(model.observe(), probes={"d:27017": Probe(True, "rs", knows_us=True), "e:27017": Probe(True)})
    assert plan(parse_desired("rs", ["a", "b", "c", "d", "e"], {}), observed)


def test_ids_stay_within_the_servers_range() -> None:
    members = tuple(Member(f"m{number}:27017", id=number) for number in (0, 1, 255))
    health = {member.host: Health(True, True) for member in members}
    observed = Observed(name="rs", members=members, health=health, primary="m0:27017", highest_id=255)
    first = plan(parse_desired("rs", ["m0", "m1", "m255", "n", "o"], {}), observed)[0]
    assert first.members[-1].id == 2


def test_the_picture_shows_members_by_host_and_only_known_settings() -> None:
    settings_: Mapping[str, Any] = {"chainingAllowed": True, "replicaSetId": "x"}
    shown = picture("rs", (Member("b:1", id=1), Member("a:1", id=0)), settings_)
    assert list(shown["members"]) == ["a:1", "b:1"]
    assert shown["settings"] == {"chainingAllowed": True}
    assert picture("rs", None, {}) == {}
    assert picture("rs", (), {}, "majority")["default_write_concern"] == "majority"
