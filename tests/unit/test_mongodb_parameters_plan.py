"""The planner of mongodb_parameters: what a running server takes, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils import _mongodb_parameters_plan as planner
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_parameters_plan import Difference, Observed, Parameter, Plan, Step, plan
from hypothesis import given
from hypothesis import strategies as st

VERBOSITY = {"verbosity": 0, "command": {"verbosity": -1}, "replication": {"verbosity": -1, "heartbeats": {"verbosity": -1}}}
PARAMETERS = {
    "quiet": Parameter(False, True),
    "logComponentVerbosity": Parameter(VERBOSITY, True),
    "tlsMode": Parameter("requireTLS", True),
    "notablescan": Parameter(False, True),
    "transactionLifetimeLimitSeconds": Parameter(60, True),
    "initialSyncSourceReadPreference": Parameter("primaryPreferred", False),
}
STARTED_WITH = {"net": {"port": 27017, "tls": {"mode": "requireTLS"}}, "storage": {"dbPath": "/data"}, "config": "/etc/mongod.conf"}
DESCRIBED = {name: value for name, value in STARTED_WITH.items() if name != "config"}
SERVER = Observed(STARTED_WITH, PARAMETERS, "6.0.5", levels={"admin": 0, "linda": 0}, oplog_mb=2000, oplog_hours=0, cache_mb=1024)


def apply(observed: Observed, step: Step) -> Observed:
    """The server's own semantics of one command."""
    if step.action == "profile":
        levels = {**observed.levels, step.database: step.fields["profile"]}
        slow_ms, rate = step.fields.get("slowms", observed.slow_ms), step.fields.get("sampleRate", observed.sample_rate)
        return replace(observed, levels=levels, slow_ms=slow_ms, sample_rate=rate)
    if step.action == "resize_oplog":
        size, hours = step.fields.get("size", observed.oplog_mb), step.fields.get("minRetentionHours", observed.oplog_hours)
        return replace(observed, oplog_mb=size, oplog_hours=hours)
    ((name, value),) = step.fields.items()
    if name == "wiredTigerEngineRuntimeConfig":
        return replace(observed, cache_mb=float(value.removeprefix("cache_size=").removesuffix("M")))
    now = observed.parameters[name]
    merged = deep(now.value, value) if name == "logComponentVerbosity" else value
    return replace(observed, parameters={**observed.parameters, name: replace(now, value=merged)})


def deep(base: Any, more: Any) -> Any:
    if not isinstance(more, Mapping):
        return more
    return {**base, **{key: deep(base.get(key, {}), value) for key, value in more.items()}}


def restarted(observed: Observed, configuration: Mapping[str, Any], version: str) -> Observed:
    """The server after a restart: it has read its file."""
    given_ = configuration.get("setParameter", {})
    parameters = {
        name: replace(parameter, value=given_.get(name, parameter.value))
        for name, parameter in observed.parameters.items()
        if name != "tlsMode"
    }
    parameters["tlsMode"] = Parameter(configuration["net"]["tls"]["mode"], True)
    return replace(observed, parsed={**configuration, "config": "/etc/mongod.conf"}, parameters=parameters, version=version)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations of every setting that can be changed online, and of some that cannot."""

    def maybe(value: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | value)

    sections: dict[str, dict[str, Any]] = {
        "net": {"port": draw(st.sampled_from([27017, 27018])), "tls": {"mode": draw(st.sampled_from(["requireTLS", "preferTLS"]))}},
        "storage": {
            "dbPath": draw(st.sampled_from(["/data", "/other"])),
            "oplogMinRetentionHours": maybe(st.integers(0, 100) | st.floats(0, 100)),
            "wiredTiger": {"engineConfig": {"cacheSizeGB": maybe(st.integers(1, 64) | st.just(0.25))}},
        },
        "replication": {"oplogSizeMB": maybe(st.integers(990, 100000))},
        "operationProfiling": {
            "slowOpThresholdMs": maybe(st.integers(0, 5000)),
            "slowOpSampleRate": maybe(st.floats(0, 1)),
            "mode": maybe(st.sampled_from(sorted(planner.LEVELS))),
        },
        "systemLog": {
            "quiet": maybe(st.booleans()),
            "verbosity": maybe(st.integers(0, 5)),
            "component": {"replication": {"heartbeats": {"verbosity": maybe(st.integers(-1, 5))}}},
        },
        "setParameter": {
            "notablescan": maybe(st.booleans() | st.sampled_from(["true", "false"])),
            "transactionLifetimeLimitSeconds": maybe(st.integers(1, 600)),
            "initialSyncSourceReadPreference": maybe(st.sampled_from(["primary", "nearest"])),
        },
    }
    cleaned: dict[str, Any] = without_none(sections)
    return cleaned


def without_none(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        key: without_none(item) for key, item in value.items() if item is not None and (not isinstance(item, Mapping) or without_none(item))
    }


@st.composite
def servers(draw: st.DrawFn) -> Observed:
    started = draw(configurations())
    observed = restarted(SERVER, started, draw(st.sampled_from(["6.0.5", "6.0.27"])))
    return replace(
        observed,
        slow_ms=draw(st.integers(0, 5000)),
        sample_rate=draw(st.floats(0, 1)),
        levels=draw(st.dictionaries(st.sampled_from(["admin", "linda", "other"]), st.integers(0, 2))),
        oplog_mb=draw(st.none() | st.integers(990, 50000).map(float)),
        oplog_hours=draw(st.none() | st.floats(0, 50)),
        cache_mb=draw(st.none() | st.integers(256, 9000).map(float)),
    )


@given(configurations(), servers(), st.sampled_from(["", "6.0.5", "1:6.0.27-1~deb12"]))
def test_the_steps_reach_the_goal_and_only_a_restart_is_left(configuration: dict[str, Any], observed: Observed, version: str) -> None:
    first = plan(configuration, observed, version)
    settings = {*planner.flatten(configuration), *planner.DEFAULTS}
    for count, step in enumerate(first.steps):
        assert step.setting in settings or step.setting.startswith(planner.COMPONENTS)
        observed = apply(observed, step)
        rest = plan(configuration, observed, version)
        # Every beginning is safe: it does nothing but what the rest no longer has to do, and asks for no further restart.
        assert {one.describe()["reason"] for one in rest.steps} <= {one.describe()["reason"] for one in first.steps[count + 1 :]}
        assert rest.restart == first.restart
    assert plan(configuration, observed, version).steps == ()
    after = restarted(observed, configuration, "6.0.27" if "6.0.27" in version else "6.0.5")
    assert plan(configuration, after, version) == Plan()


@given(configurations(), servers())
def test_what_is_in_force_is_shown_and_what_differs_is_never_silent(configuration: dict[str, Any], observed: Observed) -> None:
    result = plan(configuration, observed)
    before, after = planner.picture(result)
    assert set(before) == set(after)
    assert bool(before) == bool(result.steps or result.restart)
    assert all(before[name] != after[name] for name in before)


def reasons(configuration: dict[str, Any], observed: Observed = SERVER, version: str = "") -> list[str]:
    result = plan(configuration, observed, version)
    return [step.describe()["reason"] for step in result.steps] + [f"restart: {one.setting}" for one in result.restart]


def test_an_untouched_server_needs_nothing() -> None:
    assert plan(DESCRIBED, SERVER, "6.0.5") == Plan()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"operationProfiling": {"slowOpThresholdMs": 50}}, ["operationProfiling.slowOpThresholdMs: 100 -> 50"]),
        (
            {"operationProfiling": {"mode": "slowOp"}},
            [f"operationProfiling.mode of database {name}: off -> slowOp" for name in ("admin", "linda")],
        ),
        ({"replication": {"oplogSizeMB": 4000}}, ["replication.oplogSizeMB: 2000 -> 4000.0"]),
        ({"storage": {"dbPath": "/data", "oplogMinRetentionHours": 24}}, ["storage.oplogMinRetentionHours: 0 -> 24.0"]),
        (
            {"storage": {"dbPath": "/data", "wiredTiger": {"engineConfig": {"cacheSizeGB": 2}}}},
            ["storage.wiredTiger.engineConfig.cacheSizeGB: 1.0 -> 2"],
        ),
        ({"systemLog": {"verbosity": 1}}, ["systemLog.verbosity: 0 -> 1"]),
        ({"systemLog": {"component": {"command": {"verbosity": 2}}}}, ["systemLog.component.command.verbosity: -1 -> 2"]),
        ({"setParameter": {"logLevel": 1}}, ["systemLog.verbosity: 0 -> 1"]),
        ({"setParameter": {"logComponentVerbosity": {"command": {"verbosity": 2}}}}, ["systemLog.component.command.verbosity: -1 -> 2"]),
        ({"setParameter": {"quiet": True}}, ["systemLog.quiet: False -> True"]),
        ({"setParameter": {"notablescan": "true"}}, ["setParameter.notablescan: False -> true"]),
        ({"setParameter": {"notablescan": "false"}}, []),
        ({"setParameter": {"initialSyncSourceReadPreference": "nearest"}}, ["restart: setParameter.initialSyncSourceReadPreference"]),
        ({"storage": {"dbPath": "/other"}}, ["restart: storage.dbPath"]),
        ({"net": {"port": "27017", "tls": {"mode": "requireTLS"}}}, []),
        ({"net": {"port": 27017, "tls": {"mode": "preferTLS"}}}, ["restart: net.tls.mode"]),
        ({"storage": {}}, ["restart: storage.dbPath"]),
    ],
)
def test_each_setting_has_its_way(more: dict[str, Any], says: list[str]) -> None:
    assert reasons({**DESCRIBED, **more}) == says


def test_a_setting_that_was_changed_online_is_in_force_whatever_the_server_was_started_with() -> None:
    raised = replace(SERVER, parsed={**STARTED_WITH, "net": {"port": 27017, "tls": {"mode": "allowTLS"}}})
    assert reasons(DESCRIBED, raised) == []


def test_another_version_asks_for_a_restart() -> None:
    assert plan(DESCRIBED, SERVER, "6.0.27").restart == (Difference("version", "6.0.5", "6.0.27"),)


def test_passwords_are_not_shown() -> None:
    described = {**DESCRIBED, "net": {**DESCRIBED["net"], "tls": {"mode": "requireTLS", "certificateKeyFilePassword": "hunter2"}}}
    hidden = plan(described, SERVER)
    assert "hunter2" not in str([one.describe() for one in hidden.restart]) + str(planner.picture(hidden))
    has_one = {**STARTED_WITH, "net": {"port": 27017, "tls": {"mode": "requireTLS", "certificateKeyFilePassword": "<password>"}}}
    assert plan(described, replace(SERVER, parsed=has_one)) == Plan()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("bad_value", {"operationProfiling": {"mode": False}}),
        ("bad_value", {"operationProfiling": {"slowOpThresholdMs": "soon"}}),
        ("bad_value", {"systemLog": {"verbosity": True}}),
        ("bad_value", {"storage": {"wiredTiger": {"engineConfig": {"cacheSizeGB": 0.1}}}}),
        ("bad_configuration", {"storage": {"dbPath": None}}),
        ("bad_configuration", {"storage": {"dbPath": "/a"}, "storage.dbPath": "/b"}),
        ("bad_configuration", {"systemLog": {"verbosity": 1}, "setParameter": {"logLevel": 2}}),
        ("oplog_out_of_bounds", {"replication": {"oplogSizeMB": 500}}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(code: str, more: dict[str, Any]) -> None:
    with pytest.raises(MongodbError) as caught:
        plan({**DESCRIBED, **more}, SERVER)
    assert caught.value.code == code
    assert any(name in caught.value.message for name in (*planner.DEFAULTS, planner.CACHE_GB, planner.OPLOG_MB, "storage.dbPath"))
