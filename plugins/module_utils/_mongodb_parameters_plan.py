# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare what a running mongod goes by with its described configuration. Pure: no input, no output.

A setting is named by its path in mongod.conf, with dots (``operationProfiling.slowOpThresholdMs``). What counts is the value in force,
not the one the server was started with: a threshold that was changed online agrees with its description although getCmdLineOpts still
shows the old one. A difference is either mended by a step that the server takes while it runs, or asks for a restart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

Settings = Mapping[str, Any]

UNSET = "(not set)"
SECRET = "(secret, not shown)"  # noqa: S105 - what is shown in place of one
LEVELS = {"off": 0, "slowOp": 1, "all": 2}

SLOW_MS, SAMPLE_RATE, PROFILING = (f"operationProfiling.{name}" for name in ("slowOpThresholdMs", "slowOpSampleRate", "mode"))
OPLOG_MB, OPLOG_HOURS = "replication.oplogSizeMB", "storage.oplogMinRetentionHours"
CACHE_GB = "storage.wiredTiger.engineConfig.cacheSizeGB"
QUIET, VERBOSITY, COMPONENTS = "systemLog.quiet", "systemLog.verbosity", "systemLog.component."
VERSION = "version"
# Set at start by the configuration, later also by a parameter of another name. A step of TLS or of cluster authentication goes through
# the whole cluster in an order of its own, so here the value in force is only compared.
EFFECTIVE = {"net.tls.mode": "tlsMode", "security.clusterAuthMode": "clusterAuthMode"}
# What a server without such a setting goes by. A component's level of -1 is that of the whole log.
DEFAULTS: Settings = {SLOW_MS: 100, SAMPLE_RATE: 1.0, PROFILING: "off", OPLOG_HOURS: 0, QUIET: False, VERBOSITY: 0}
# mongod's bounds of replSetResizeOplog, in MB (src/mongo/db/repl/repl_set_commands: 990 MB to 1 PB).
OPLOG_LEAST_MB, OPLOG_MOST_MB = 990, 2**30
_ALIASES = {"setParameter.logLevel": VERBOSITY, "setParameter.quiet": QUIET}
_SECRETS = re.compile(r"password|secret", re.IGNORECASE)
# Not settings: the file itself, and what the unit overrides so that systemd can watch the process.
_NOT_COMPARED = frozenset({"config", "processManagement.fork"})


@dataclass(frozen=True)
class Parameter:
    """One parameter as getParameter shows it; ``online``: setParameter may change it while the server runs."""

    value: Any
    online: bool


@dataclass(frozen=True)
class Observed:
    """What the server goes by.

    ``parsed``: getCmdLineOpts.parsed. ``levels``: the profiler's level by database. ``oplog_mb``, ``oplog_hours`` and ``cache_mb``: None
    where the server has no such thing (a standalone server, another storage engine).
    """

    parsed: Settings
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    version: str = ""
    slow_ms: int = 100
    sample_rate: float = 1.0
    levels: Mapping[str, int] = field(default_factory=dict)
    oplog_mb: float | None = None
    oplog_hours: float | None = None
    cache_mb: float | None = None


@dataclass(frozen=True)
class Step:
    """One command that changes one setting of the running server.

    ``action`` is profile, resize_oplog or set_parameter; ``database`` is where a profile command goes.
    """

    action: str
    setting: str
    running: Any
    wanted: Any
    fields: Mapping[str, Any]
    database: str = "admin"

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        where = f" of database {self.database}" if self.setting == PROFILING else ""
        reason = f"{self.setting}{where}: {shown(self.setting, self.running)} -> {shown(self.setting, self.wanted)}"
        return {"action": self.action, "setting": self.setting, "database": self.database, "reason": reason}


@dataclass(frozen=True)
class Difference:
    """A setting that only a restart brings into force."""

    setting: str
    running: Any
    wanted: Any

    def describe(self) -> dict[str, Any]:
        """Return the difference for a person and for a program."""
        return {"setting": self.setting, "running": shown(self.setting, self.running), "wanted": shown(self.setting, self.wanted)}


@dataclass(frozen=True)
class Plan:
    """What can be done now, in order, and what waits for a restart."""

    steps: tuple[Step, ...] = ()
    restart: tuple[Difference, ...] = ()


def shown(setting: str, value: Any) -> Any:
    """Return a value as it may be shown."""
    return SECRET if _SECRETS.search(setting) and value != UNSET else value


def flatten(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a configuration by their dotted names; a value below ``setParameter`` stays whole.

    :raises MongodbError: ``bad_configuration`` for a setting that is given twice or has no value.
    """
    settings: dict[str, Any] = {}
    for name, value in _leaves("", configuration):
        if value is None:
            raise MongodbError("bad_configuration", f"configuration: {name} has no value. Write one, or remove the line.")
        for setting, part in _plain(name, value):
            if setting in settings:
                raise MongodbError("bad_configuration", f"configuration: {setting} is given twice. Write it once.")
            settings[setting] = part
    return settings


def _leaves(prefix: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        whole = prefix == "setParameter." or not isinstance(item, Mapping)
        if whole:
            yield name, item
        else:
            yield from _leaves(f"{name}.", item)


def _plain(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A setting under the one name it has here: what the log's parameters say is said in systemLog too."""
    if name == "setParameter.logComponentVerbosity" and isinstance(value, Mapping):
        for part, level in _leaves("", value):
            yield VERBOSITY if part == "verbosity" else f"{COMPONENTS}{part}", level
    else:
        yield _ALIASES.get(name, name), value


def same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same to mongod, whatever their spelling."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(_canonical(one) == _canonical(other))


def _canonical(value: Any) -> Any:
    if isinstance(value, str):
        if value.lower() in ("true", "false"):
            return float(value.lower() == "true")
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if isinstance(value, bool | int | float) else value


def plan(configuration: Mapping[str, Any], observed: Observed, version: str = "") -> Plan:
    """Return the way from what the server goes by to its description.

    ``version``: the package's version that should run, empty when it does not matter.

    :raises MongodbError: ``bad_configuration``, ``bad_value``, or ``oplog_out_of_bounds`` for a size that no running oplog can be given.
    """
    wanted, running = flatten(configuration), flatten(observed.parsed)
    if observed.oplog_mb is None and OPLOG_MB in wanted:
        wanted.pop(OPLOG_MB)
    steps = [step for planner in _ONLINE for step in planner(wanted, observed)]
    handled = {SLOW_MS, SAMPLE_RATE, PROFILING, OPLOG_MB, OPLOG_HOURS, QUIET, VERBOSITY, *_NOT_COMPARED}
    if CACHE_GB in wanted and observed.cache_mb is not None:
        handled.add(CACHE_GB)
    restart = []
    if version and observed.version and _release(version) != observed.version:
        restart.append(Difference(VERSION, observed.version, _release(version)))
    for setting in sorted({*wanted, *running} - handled):
        if setting.startswith(COMPONENTS) or any(step.setting == setting for step in steps):
            continue
        now = _in_force(setting, wanted, running, observed)
        # The server never shows a password, so one that it has counts as the right one.
        if not same(now, wanted.get(setting, UNSET)) and now != "<password>":
            restart.append(Difference(setting, now, wanted.get(setting, UNSET)))
    return Plan(tuple(steps), tuple(restart))


def _release(version: str) -> str:
    """The server's version without the epoch and the revision of its package."""
    return version.rpartition(":")[2].partition("-")[0]


def _in_force(setting: str, wanted: Settings, running: Settings, observed: Observed) -> Any:
    """The value that the server goes by now; UNSET when it was started without it and no parameter tells."""
    name = EFFECTIVE.get(setting) or (setting.removeprefix("setParameter.") if setting.startswith("setParameter.") else "")
    if name in observed.parameters and setting in wanted:
        return observed.parameters[name].value
    return running.get(setting, UNSET)


def _number(setting: str, value: Any, least: float) -> float:
    """A number of the description.

    :raises MongodbError: ``bad_value``.
    """
    number = _canonical(value)
    if isinstance(value, bool) or not isinstance(number, float) or not least <= number < float("inf"):
        raise MongodbError("bad_value", f"{setting} = {value!r} is not a number from {least:g} up.")
    return number


def _profiler(wanted: Settings, observed: Observed) -> Iterator[Step]:
    """The threshold and the rate hold for the whole server, the level for one database."""
    threshold = _number(SLOW_MS, wanted.get(SLOW_MS, DEFAULTS[SLOW_MS]), -1)
    rate = _number(SAMPLE_RATE, wanted.get(SAMPLE_RATE, DEFAULTS[SAMPLE_RATE]), 0)
    mode = wanted.get(PROFILING, DEFAULTS[PROFILING])
    if mode not in LEVELS:
        raise MongodbError("bad_value", f"{PROFILING} = {mode!r} is none of: {', '.join(LEVELS)}. Put quotes around it.")
    # A command about the server as a whole has to name a level for the database that it is sent to: the one it is to have.
    own = {"profile": LEVELS[mode]}
    if threshold != observed.slow_ms:
        yield Step("profile", SLOW_MS, observed.slow_ms, int(threshold), {**own, "slowms": int(threshold)})
    if rate != observed.sample_rate:
        yield Step("profile", SAMPLE_RATE, observed.sample_rate, rate, {**own, "sampleRate": rate})
    names = {level: name for name, level in LEVELS.items()}
    for database, level in sorted(observed.levels.items()):
        if level != LEVELS[mode]:
            yield Step("profile", PROFILING, names.get(level, level), mode, own, database)


def _oplog(wanted: Settings, observed: Observed) -> Iterator[Step]:
    if observed.oplog_mb is None:
        return
    hours = _number(OPLOG_HOURS, wanted.get(OPLOG_HOURS, DEFAULTS[OPLOG_HOURS]), 0)
    if hours != (observed.oplog_hours or 0):
        yield Step("resize_oplog", OPLOG_HOURS, observed.oplog_hours or 0, hours, {"minRetentionHours": hours})
    size = _number(OPLOG_MB, wanted[OPLOG_MB], 0) if OPLOG_MB in wanted else 0
    if not size or abs(size - observed.oplog_mb) < 1:
        return
    if not OPLOG_LEAST_MB <= size <= OPLOG_MOST_MB:
        raise MongodbError(
            "oplog_out_of_bounds",
            f"{OPLOG_MB} = {size:g}: the oplog has {observed.oplog_mb:g} MB, and a running server takes {OPLOG_LEAST_MB} MB to 1 PB only.",
        )
    yield Step("resize_oplog", OPLOG_MB, observed.oplog_mb, size, {"size": size})


def _cache(wanted: Settings, observed: Observed) -> Iterator[Step]:
    if CACHE_GB not in wanted or observed.cache_mb is None:
        return
    size = int(_number(CACHE_GB, wanted[CACHE_GB], 0.25) * 1024)
    if abs(size - observed.cache_mb) >= 1:
        fields = {"wiredTigerEngineRuntimeConfig": f"cache_size={size}M"}
        yield Step("set_parameter", CACHE_GB, round(observed.cache_mb / 1024, 3), wanted[CACHE_GB], fields)


def _log(wanted: Settings, observed: Observed) -> Iterator[Step]:
    quiet = observed.parameters.get("quiet")
    if quiet is not None and not same(quiet.value, wanted.get(QUIET, DEFAULTS[QUIET])):
        silent = bool(_canonical(wanted.get(QUIET, DEFAULTS[QUIET])))
        yield Step("set_parameter", QUIET, quiet.value, silent, {"quiet": silent})
    levels = observed.parameters.get("logComponentVerbosity")
    if levels is None:
        return
    for part, level in sorted(_leaves("", levels.value)):
        setting = VERBOSITY if part == "verbosity" else f"{COMPONENTS}{part}"
        value = int(_number(setting, wanted.get(setting, 0 if setting == VERBOSITY else -1), -1))
        if value != level:
            document: Any = value
            for key in reversed(part.split(".")):
                document = {key: document}
            yield Step("set_parameter", setting, level, value, {"logComponentVerbosity": document})


def _parameters(wanted: Settings, observed: Observed) -> Iterator[Step]:
    for setting in sorted(wanted):
        if not setting.startswith("setParameter."):
            continue
        name = setting.removeprefix("setParameter.")
        found = observed.parameters.get(name)
        if found is not None and found.online and not same(found.value, wanted[setting]):
            yield Step("set_parameter", setting, found.value, wanted[setting], {name: wanted[setting]})


_ONLINE: tuple[Callable[[Settings, Observed], Iterator[Step]], ...] = (_profiler, _oplog, _cache, _log, _parameters)


def picture(result: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what differs before and after, for a diff; what waits for a restart says so."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for step in result.steps:
        name = f"{step.setting} ({step.database})" if step.setting == PROFILING else step.setting
        before[name], after[name] = shown(step.setting, step.running), shown(step.setting, step.wanted)
    for one in result.restart:
        before[one.setting], after[one.setting] = shown(one.setting, one.running), f"{shown(one.setting, one.wanted)} (after a restart)"
    return before, after
