"""The check format: what it takes, and that everything else is refused with the place and the field."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from typing import Any, ClassVar

import pytest
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import Result, result_of
from ansible_collections.linda.ops.plugins.module_utils._checks_host import judge_unit
from ansible_collections.linda.ops.plugins.module_utils._checks_mongodb import (
    OplogWindow,
    judge,
    judge_indexes,
    judge_oplog,
    judge_pools,
    primary_address,
    stale,
)
from ansible_collections.linda.ops.plugins.module_utils._checks_net import CheckFailed, masked, shortened
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import (
    TYPES,
    HttpCheck,
    InvalidCheck,
    MongodbCheck,
    MongodbPoolCheck,
    TlsCheck,
    UnitCheck,
    WebsocketCheck,
    parse_checks,
    with_default_authority,
)
from hypothesis import given
from hypothesis import strategies as st

COMMON = {"name": "it", "host": "edge1", "role": "edge", "address": "192.0.2.1"}
LEAST: dict[str, dict[str, Any]] = {
    "tcp": {"port": 1},
    "tls": {},
    "http": {"url": "http://edge.linda.test/"},
    "websocket": {"url": "ws://edge.linda.test/ws"},
    "mongodb": {},
    "mongodb_pool": {"user": "linda", "clients": ["192.0.2.7"]},
    "mongodb_indexes": {"indexes": [{"collection": "linda.users", "name": "by_phone", "keys": [{"phone": 1}]}]},
    "unit": {"unit": "nginx.service"},
    "argv": {"argv": ["true"]},
}
PEM = "-----BEGIN CERTIFICATE-----\n"


def parse(kind: str, **more: object) -> Any:
    (check,) = parse_checks([{**COMMON, "type": kind, **LEAST[kind], **more}])
    return check


def problems(kind: str, **more: object) -> list[str]:
    with pytest.raises(InvalidCheck) as caught:
        parse(kind, **more)
    return caught.value.problems


@pytest.mark.parametrize("kind", TYPES)
def test_least(kind: str) -> None:
    check = parse(kind)
    assert (check.timeout, check.retries, check.pause, check.sensitive) == (5, 2, 1, False)
    assert check.origin == ("self" if kind in ("unit", "argv") else "controller")
    assert check.secret_variables() == ()


@pytest.mark.parametrize(("kind", "field"), [("tcp", "port"), ("http", "url"), ("websocket", "url"), ("unit", "unit"), ("argv", "argv")])
def test_required_fields(kind: str, field: str) -> None:
    assert problems(kind, **{field: None}) == [f"host edge1, role edge, checks[0] (it): {field} is missing"]


@pytest.mark.parametrize("kind", TYPES)
def test_unknown_field(kind: str) -> None:
    assert problems(kind, timout=3) == ["host edge1, role edge, checks[0] (it): timout is not a known field here (did you mean timeout?)"]


WRONG: list[tuple[str, str, object]] = [
    *((kind, field, value) for kind in TYPES for field, value in (
        ("name", ""), ("name", "Big Name"), ("name", 7), ("host", ""), ("role", None), ("address", ""), ("address", "a b"),
        ("from", "ops1"),
        ("timeout", 0), ("timeout", "5"), ("timeout", True), ("timeout", 601), ("retries", -1), ("retries", 1.5), ("retries", 101),
        ("pause", -1), ("pause", 61), ("sensitive", "yes"),
    )),
    *(("tcp", "port", value) for value in (0, 65536, "443", True, 1.5)),
    *(("tls", field, value) for field, value in (
        ("port", 0), ("server_names", "edge.linda.test"), ("server_names", [1]), ("server_names", [""]), ("ca_file", "ca.pem"),
        ("ca_pem", "no"), ("min_version", "TLSv1.1"), ("min_version", "1.2"), ("warn_days", -1), ("fail_days", "7"), ("fail_days", 22),
    )),
    *(("http", field, value) for field, value in (
        ("url", "/healthz"), ("url", "ftp://x/"), ("url", "http://"), ("url", "http://a b/"), ("url", "http://u:p@x/"), ("url", "http://x:99999/"),
        ("url", "http://x:0/"), ("url", "http://x/\r\nA: b"), ("url", "http://b\u00fccher.test/"), ("url", 5),
        ("method", "get"), ("method", "TRACE"),
        ("headers", ["a"]), ("headers", {"A": 1}), ("headers", {"A b": "c"}), ("headers", {"A": "b\r\nC: d"}), ("headers", {"": "x"}),
        ("headers", {"authorization": "Bearer x"}), ("headers", {"Cookie": "x"}), ("body", 5), ("json", {1, 2}),
        ("status", []), ("status", 99),
        ("status", "200"), ("status", [200, True]), ("expect_headers", {"A": "("}), ("expect_headers", {"A": None}),
        ("expect_headers", "A"),
        ("absent_headers", "Server"), ("absent_headers", ["a b"]), ("location", ""), ("body_regex", "["), ("expect_json", ["status"]),
        ("expect_json", {"a..b": 1}), ("ca_file", "x"), ("username", "m"), ("password_variable", "word"), ("bearer_variable", "not a name"),
    )),
    *(("websocket", field, value) for field, value in (
        ("url", "http://x/"), ("url", "ws:///x"), ("status", 99), ("status", [101]), ("send", ""), ("expect", "("), ("subprotocol", 1),
        ("headers", {"Authorization": "x"}), ("ca_pem", "x"),
    )),
    *(("mongodb", field, value) for field, value in (
        ("port", 0), ("replica_set", ""), ("members", "mongo1:27017"), ("members", ["mongo1"]), ("members", [{"address": "x:1"}]),
        ("members", ["a:1", "a:1"]), ("members", [{"host": "a:1", "address": "b"}]), ("members", [{"host": "a:1", "adress": "b:1"}]),
        ("max_lag", -1), ("max_lag", "10"), ("oplog_window_hours", -1), ("oplog_window_hours", "24"),
        ("write_database", "admin"), ("write_database", "local"), ("write_database", "a.b"),
        ("username", "monitor"), ("password_variable", "word"), ("auth_source", 1), ("tls", "true"), ("ca_file", "x"),
    )),
    *(("mongodb_pool", field, value) for field, value in (
        ("user", ""), ("user", None), ("clients", []), ("clients", ["api1.example.net"]), ("clients", ["192.0.2.7", "192.0.2.7"]),
        ("min_size", 101), ("min_size", -1), ("max_size", 0), ("max_size", "100"), ("processes", 0), ("username", "monitor"), ("port", 0),
        ("password_variable", "word"), ("auth_source", 1), ("tls", "true"),
        ("replica_set", "rs0"),
    )),
    *(("mongodb_indexes", field, value) for field, value in (
        ("indexes", []), ("indexes", None), ("indexes", ["by_phone"]),
        ("indexes", [{"collection": "users", "name": "x", "keys": [{"a": 1}]}]),
        ("indexes", [{"collection": "linda.users", "name": "", "keys": [{"a": 1}]}]),
        ("indexes", [{"collection": "linda.users", "name": "x", "keys": [{"a": 1, "b": 1}]}]),
        ("indexes", [{"collection": "linda.users", "name": "x", "keys": []}]),
        ("indexes", [{"collection": "linda.users", "name": "x", "keys": [{"a": 1}], "unique": True}]),
        ("port", 0), ("username", "monitor"), ("password_variable", "word"), ("auth_source", 1), ("tls", "true"),
    )),
    *(("unit", field, value) for field, value in (
        ("unit", "nginx"), ("unit", "../x.service"), ("unit", "-x.service --now"), ("active", "yes"), ("enabled", 1),
        ("from", "controller"),
    )),
    *(("argv", field, value) for field, value in (
        ("argv", "true"), ("argv", []), ("argv", ["a", 1]), ("argv", [""]), ("exit_codes", "0"), ("exit_codes", 256), ("exit_codes", []),
        ("stdout_regex", "("), ("stderr_regex", "("),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "value"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_values_name_the_field(kind: str, field: str, value: object) -> None:
    found = problems(kind, **{field: value})
    assert any(f": {field}" in one or f", {field}" in one or f": {field}[" in one or f" {field}" in one for one in found), found
    assert all("checks[0]" in one for one in found)


def test_every_field_has_a_wrong_case() -> None:
    """Whoever adds a field to a check adds its negative case here."""
    classes = {type(parse(kind)): kind for kind in TYPES}
    for owner, kind in classes.items():
        tested = {field for name, field, _value in WRONG if name == kind}
        fields = {field.name for field in dataclasses.fields(owner)} - {"type", "origin"}
        left = {(kind, field) for field in fields - tested}
        # The authority's two fields are read by one function for all types that have them.
        assert left <= {(kind, "ca_file"), (kind, "ca_pem")}, left


@pytest.mark.parametrize(
    ("kind", "more", "word"),
    [
        ("http", {"body": "a", "json": {}}, "json and body"),
        ("http", {"ca_file": "/a", "ca_pem": PEM}, "ca_pem and ca_file"),
        ("http", {"username": "a", "password_variable": "b", "bearer_variable": "c"}, "bearer_variable and username"),
        ("http", {"expect_headers": {"A": "b"}, "absent_headers": ["a"]}, "both name a"),
        ("websocket", {"status": 401, "send": "x"}, "send and expect make no sense"),
        ("mongodb", {"tls": False, "ca_file": "/a"}, "tls is false"),
        ("mongodb_pool", {"min_size": 20, "max_size": 10}, "min_size = 20 is above max_size = 10"),
    ],
)
def test_fields_that_exclude_each_other(kind: str, more: dict[str, object], word: str) -> None:
    assert any(word in one for one in problems(kind, **more))


def test_unknown_type_and_non_mappings() -> None:
    with pytest.raises(InvalidCheck) as caught:
        parse_checks([{**COMMON, "type": "htp"}, "text", {**COMMON}, 7])
    assert caught.value.problems == [
        f"host edge1, role edge, checks[0] (it): type = 'htp' is not one of {', '.join(TYPES)} (did you mean http?)",
        "checks[1]: must be a mapping, not 'text'",
        "host edge1, role edge, checks[2] (it): type is missing",
        "checks[3]: must be a mapping, not 7",
    ]


def test_two_checks_with_one_name() -> None:
    raw = {**COMMON, "type": "tcp", "port": 1}
    assert len(parse_checks([raw, {**raw, "host": "edge2"}, {**raw, "role": "other"}])) == 3
    with pytest.raises(InvalidCheck, match="two checks named it"):
        parse_checks([raw, raw])


def test_all_problems_of_all_checks_come_at_once() -> None:
    with pytest.raises(InvalidCheck) as caught:
        parse_checks([{**COMMON, "type": "tcp", "port": 0, "timeout": -1}, {**COMMON, "name": "b", "type": "argv"}])
    assert len(caught.value.problems) == 3


def test_values_arrive() -> None:
    http = parse("http", json={"a": 1}, status=204, username="m", password_variable="word")  # noqa: S106  # a variable's name
    assert isinstance(http, HttpCheck)
    assert (http.body, http.status, http.headers) == ('{"a": 1}', (204,), {"Content-Type": "application/json"})
    assert http.secret_variables() == ("word",)
    assert parse("http", json={}, headers={"content-type": "application/x"}).headers == {"content-type": "application/x"}
    assert parse("http", json=[], bearer_variable="t").secret_variables() == ("t",)
    tls = parse("tls")
    assert isinstance(tls, TlsCheck)
    assert tls.server_names == ("192.0.2.1",)
    assert isinstance(parse("websocket"), WebsocketCheck)
    members = parse("mongodb", members=["a:1", {"host": "b:2", "address": "192.0.2.9:2"}]).members
    assert [(member.host, member.address) for member in members] == [("a:1", None), ("b:2", "192.0.2.9:2")]
    assert parse("argv", exit_codes=3).exit_codes == (3,)


def test_default_authority_goes_where_certificates_are_verified() -> None:
    for kind in TYPES:
        raw = {**COMMON, "type": kind, **LEAST[kind]}
        filled = with_default_authority(raw, "/ca.pem")
        assert isinstance(filled, dict)
        assert (filled.get("ca_file") == "/ca.pem") == (kind in ("tls", "http", "websocket", "mongodb", "mongodb_pool", "mongodb_indexes"))
        assert with_default_authority(raw, None) == raw
        parse_checks([filled])
    for own in ({"ca_file": "/own.pem"}, {"ca_pem": PEM}, {"tls": False}):
        raw = {**COMMON, "type": "mongodb", **own}
        assert with_default_authority(raw, "/ca.pem") == raw


FIELDS = st.sampled_from(["name", "type", "port", "url", "argv", "x"])
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=10,
)


@given(GARBAGE, st.sampled_from(TYPES))
def test_garbage_is_refused_never_a_crash(raw: object, kind: str) -> None:
    for candidate in (raw, {**COMMON, "type": kind, **(raw if isinstance(raw, dict) else {"port": raw})}):
        with contextlib.suppress(InvalidCheck):
            (check,) = parse_checks([candidate])
            assert check.key == ("edge1", "edge", check.name)


def member(name: str, state: str, *, health: int = 1, at: int = 100, own: bool = False) -> dict[str, Any]:
    return {
        "name": name, "stateStr": state, "health": health, "self": own,
        "optimeDate": datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=at),
    }  # fmt: skip


class TestMongodbJudge:
    def check(self, **more: object) -> MongodbCheck:
        made = parse("mongodb", **more)
        assert isinstance(made, MongodbCheck)
        return made

    GOOD: ClassVar[dict[str, Any]] = {
        "set": "rs0",
        "members": [member("a:1", "PRIMARY"), member("b:1", "SECONDARY", at=95), member("c:1", "ARBITER")],
    }

    def test_good(self) -> None:
        assert judge(self.check(replica_set="rs0", members=["a:1", "b:1", "c:1"]), self.GOOD).endswith("lag 5 s")

    @pytest.mark.parametrize(
        ("members", "more", "reason"),
        [
            ([member("a:1", "SECONDARY")], {}, "there is no primary"),
            ([], {}, "there is no primary"),
            ([member("a:1", "PRIMARY"), member("b:1", "PRIMARY")], {}, "there are 2 primaries"),
            ([member("a:1", "PRIMARY"), member("b:1", "(not reachable/healthy)", health=0)], {}, "b:1 is (not reachable/healthy)"),
            ([member("a:1", "PRIMARY"), member("b:1", "RECOVERING")], {}, "b:1 is RECOVERING"),
            ([member("a:1", "PRIMARY"), member("b:1", "SECONDARY", health=0)], {}, "b:1 is SECONDARY"),
            ([member("a:1", "PRIMARY"), member("b:1", "SECONDARY", at=89)], {}, "b:1 is 11 s behind the primary, more than 10"),
            ([member("a:1", "PRIMARY")], {"members": ["a:1", "b:1"]}, "b:1 is not a member"),
            ([member("a:1", "PRIMARY"), member("b:1", "SECONDARY")], {"members": ["a:1"]}, "b:1 is a member, which is not expected"),
            ([member("a:1", "PRIMARY")], {"replica_set": "other"}, "the replica set is rs0, expected other"),
        ],
    )
    def test_bad(self, members: list[dict[str, Any]], more: dict[str, object], reason: str) -> None:
        with pytest.raises(CheckFailed) as caught:
            judge(self.check(**more), {"set": "rs0", "members": members})
        assert reason in caught.value.reason

    @pytest.mark.parametrize(
        ("hours", "used", "reason"),
        [
            (30, 1, ""),
            (30, 0.1, ""),
            (0.5, 0.5, ""),
            (2, 0.05, ""),
            (2, 0.5, "will reach back about 4.0 h once it is full, less than 24 h"),
            (23.9, 0.97, "reaches back 23.9 h, less than 24 h"),
            (0.1, 1, "reaches back 0.1 h, less than 24 h"),
            (0, 0, ""),
        ],
    )
    def test_oplog(self, hours: float, used: float, reason: str) -> None:
        window = OplogWindow(hours, used)
        if not reason:
            assert judge_oplog(24, window) == f"oplog of {hours:.1f} h, {used:.0%} full"
            return
        with pytest.raises(CheckFailed) as caught:
            judge_oplog(24, window)
        assert reason in caught.value.reason

    def test_where_to_write(self) -> None:
        status = {"members": [member("a:1", "PRIMARY"), member("b:1", "SECONDARY", own=True)]}
        assert primary_address(self.check(), status, "192.0.2.1:1") == "a:1"
        assert (
            primary_address(self.check(members=[{"host": "a:1", "address": "192.0.2.7:1"}, "b:1"]), status, "192.0.2.1:1") == "192.0.2.7:1"
        )
        own = {"members": [member("a:1", "PRIMARY", own=True)]}
        assert primary_address(self.check(), own, "192.0.2.1:1") == "192.0.2.1:1"

    def test_stale_scratch(self) -> None:
        old, young = f"linda_check_1000_{'0' * 32}", f"linda_check_9000_{'0' * 32}"
        assert stale([old, young, "linda_check_1000_x", "things", "x" + old], 10000) == [old]


class TestUnitJudge:
    STATE: ClassVar[dict[str, str]] = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}

    def check(self, **more: object) -> UnitCheck:
        made = parse("unit", **more)
        assert isinstance(made, UnitCheck)
        return made

    def test_good(self) -> None:
        assert judge_unit(self.check(), self.STATE).evidence == "loaded, active (running), enabled"
        judge_unit(self.check(active=False, enabled=False), {**self.STATE, "ActiveState": "inactive", "UnitFileState": "disabled"})
        judge_unit(self.check(active="any", enabled="any"), {**self.STATE, "ActiveState": "failed", "UnitFileState": "masked"})
        judge_unit(
            self.check(active=False, enabled=False),
            {**self.STATE, "LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"},
        )

    @pytest.mark.parametrize(
        ("state", "more", "reason"),
        [
            ({"LoadState": "not-found"}, {}, "nginx.service does not exist"),
            ({"LoadState": "not-found"}, {"active": False, "enabled": False}, "nginx.service does not exist"),
            ({"LoadState": "bad-setting"}, {}, "cannot be loaded (bad-setting)"),
            ({"ActiveState": "failed"}, {}, "nginx.service is failed, expected active"),
            ({"ActiveState": "activating"}, {}, "is activating, expected active"),
            ({}, {"active": False}, "is active, expected inactive"),
            ({"UnitFileState": "disabled"}, {}, "is disabled, expected enabled"),
            ({"UnitFileState": ""}, {}, "is without a unit file, expected enabled"),
            ({}, {"enabled": False}, "is enabled, expected disabled"),
        ],
    )
    def test_bad(self, state: dict[str, str], more: dict[str, object], reason: str) -> None:
        with pytest.raises(CheckFailed) as caught:
            judge_unit(self.check(**more), {**self.STATE, **state})
        assert reason in caught.value.reason


@given(st.text(), st.lists(st.text(min_size=1)))
def test_no_secret_survives_the_mask(text: str, secrets: list[str]) -> None:
    clean = masked(text, secrets).replace("********", "")
    longest = max(secrets, key=len, default="")
    assert not longest or longest not in clean or "*" in longest


@given(st.text())
def test_evidence_is_one_short_printable_line(text: str) -> None:
    line = shortened(text)
    assert len(line) <= 300
    assert line.isprintable()


def test_result_round_trip() -> None:
    made = result_of(parse("tcp"), "fail", reason="x", attempts=2, duration_s=1.5)
    assert Result.from_dict(made.as_dict()) == made


class TestMongodbPoolJudge:
    def check(self, **more: object) -> MongodbPoolCheck:
        made = parse("mongodb_pool", **{"user": "linda", "clients": ["192.0.2.7", "2001:DB8::7"], "min_size": 2, "max_size": 3, **more})
        assert isinstance(made, MongodbPoolCheck)
        return made

    def test_each_client_is_counted_for_itself(self) -> None:
        there = ["192.0.2.7:40000", "192.0.2.7:40001", "[2001:db8::7]:5", "2001:db8::7:6", "192.0.2.8:1"]
        seen = "192.0.2.7 2, 192.0.2.8 1, 2001:db8::7 2"
        assert judge_pools(self.check(), there) == f"connections as linda: {seen}; 2 to 3 wanted"
        with pytest.raises(CheckFailed, match=r"192\.0\.2\.7 has 2 connections as linda, fewer than 4 to 6; 2001:db8::7 has 2"):
            judge_pools(self.check(processes=2), there)
        with pytest.raises(CheckFailed, match=r"192\.0\.2\.7 has 4 connections as linda, more than 2 to 3"):
            judge_pools(self.check(clients=["192.0.2.7"]), there * 2)


def test_an_index_is_there_under_its_name_or_with_its_keys() -> None:
    check = parse("mongodb_indexes")

    def judged(*found: dict[str, Any]) -> str:
        return judge_indexes(check, {"linda.users": list(found)})

    assert judged({"name": "by_phone", "key": {"phone": 1}}) == "1 indexes on 1 collections"
    assert judged({"name": "phone_1", "key": {"phone": 1.0}}) == "1 indexes on 1 collections"
    with pytest.raises(CheckFailed, match=r"linda\.users has no index by_phone"):
        judged({"name": "phone_-1", "key": {"phone": -1}})
    with pytest.raises(CheckFailed, match=r"linda\.users: by_phone is still being built"):
        judged({"name": "by_phone", "key": {"phone": 1}, "building": True})
