# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way from the collections a MongoDB cluster has to the described ones. Pure: no input, no output, no clock.

A plan never drops anything. It has one ``create`` for each collection that is missing and one ``collMod`` for each that differs in
what the server changes online; so each step leaves its collection either as it was or as described. What no command can change
(a collection that is not capped and should be) is refused, and so is what would harm data or writers unless it is allowed by name:

- a validator that is made stricter while documents are stored that do not pass it (``invalid_documents``): the next update of such
  a document would fail;
- an expiry that is lowered or begins (``lower_expiry``), and a capped collection that is made smaller (``shrink_capped``): both
  delete documents.

:func:`questions` names what has to be counted for that, :func:`plan` takes the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_collections_spec import (
    GRANULARITIES,
    NO_EXPIRY,
    UNLIMITED,
    Capped,
    Collection,
    Namespace,
    TimeSeries,
    canonical,
    plain,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

# Wire versions of servers, as `hello` says them: the first that can do it.
CLUSTERED_SINCE = 15  # 5.3
RESIZE_SINCE = 17  # 6.0, also change streams with images before and after
LATEST = 17
KINDS = {
    "collection": "an ordinary collection",
    "capped": "a capped collection",
    "clustered": "a clustered collection",
    "timeseries": "a time series collection",
    "view": "a view",
}


@dataclass(frozen=True)
class Existing:
    """One collection as the cluster has it. ``expire_after`` is ``NO_EXPIRY`` when documents stay; an empty validator is none."""

    kind: str = "collection"
    validator: Mapping[str, Any] = field(default_factory=dict)
    level: str = "strict"
    action: str = "error"
    capped: Capped | None = None
    timeseries: TimeSeries | None = None
    clustered_name: str | None = None
    expire_after: int = NO_EXPIRY
    collation: Mapping[str, Any] | None = None
    images: bool = False

    @classmethod
    def from_server(cls, document: Mapping[str, Any]) -> Existing:
        """Read one entry of the answer to ``listCollections``."""
        options = document.get("options", {})
        series, clustered, expiry = options.get("timeseries"), options.get("clusteredIndex"), options.get("expireAfterSeconds")
        kind = str(document.get("type", "collection"))
        if kind == "collection":
            kind = "capped" if options.get("capped") else "clustered" if clustered else kind
        collation = {key: value for key, value in options.get("collation", {}).items() if key != "version"}
        most = options.get("max")
        return cls(
            kind=kind,
            validator=options.get("validator", {}),
            level=options.get("validationLevel", "strict"),
            action=options.get("validationAction", "error"),
            capped=Capped(int(options["size"]), int(most) if most and most < UNLIMITED else None) if kind == "capped" else None,
            timeseries=TimeSeries(series["timeField"], series.get("metaField"), series.get("granularity", "custom")) if series else None,
            clustered_name=clustered.get("name") if isinstance(clustered, Mapping) else None,
            expire_after=NO_EXPIRY if expiry is None or expiry == "off" else int(expiry),
            collation=collation or None,
            images=bool(options.get("changeStreamPreAndPostImages", {}).get("enabled", False)),
        )

    def picture(self) -> dict[str, Any]:
        """Return the properties that are not those of an ordinary collection, under our names."""
        shown: dict[str, Any] = {"kind": self.kind}
        if self.validator:
            shown |= {"validator": plain(self.validator), "validation_level": self.level, "validation_action": self.action}
        if self.capped:
            shown["capped"] = {"size": self.capped.size, "max": self.capped.max}
        if self.timeseries:
            shown["timeseries"] = vars(self.timeseries).copy()
        if self.expire_after != NO_EXPIRY:
            shown["expire_after_seconds"] = self.expire_after
        if self.collation:
            shown["collation"] = plain(self.collation)
        if self.images:
            shown["pre_and_post_images"] = True
        return shown


@dataclass(frozen=True)
class Question:
    """Something to count before the plan can be made; ``what`` is ``invalid`` (fails the validator) or ``expiring``."""

    what: str
    collection: Collection


@dataclass(frozen=True)
class Observed:
    """What the cluster says. ``counts`` answers the questions; None: it could not be counted in the time that was given."""

    collections: Mapping[Namespace, Existing]
    wire_version: int = LATEST
    counts: Mapping[tuple[str, Namespace], int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One command. ``action`` is create_collection or modify_collection; ``fields`` are the command's as the server names them."""

    action: str
    collection: Collection
    changes: tuple[str, ...]
    fields: Mapping[str, Any]

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        if self.action == "create_collection":
            reason = f"create {self.collection.label}, {KINDS[self.collection.kind]}"
        else:
            reason = f"change {', '.join(self.changes)} of {self.collection.label}"
        return {"action": self.action, "database": self.collection.database, "collection": self.collection.name, "reason": reason}


@dataclass(frozen=True)
class Plan:
    """The steps, and what the operator should know beside them."""

    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()


def questions(desired: Sequence[Collection], observed: Observed) -> list[Question]:
    """Return what has to be counted before :func:`plan` can decide."""
    found = []
    for collection in desired:
        existing = observed.collections.get(collection.key)
        if existing is None or _structure_problems(collection, existing, observed.wire_version):
            continue
        if _is_stricter(collection, existing):
            found.append(Question("invalid", collection))
        if _lowers_expiry(collection, existing):
            found.append(Question("expiring", collection))
    return found


def plan(desired: Sequence[Collection], observed: Observed) -> Plan:
    """Return the way from ``observed`` to ``desired``.

    :raises MongodbError: ``wrong_kind``, ``read_only_property``, ``server_too_old``, ``invalid_documents``, ``count_timed_out``,
        ``lowers_expiry`` or ``shrinks_capped``. All problems are in the message, the code is that of the first.
    """
    steps: list[Step] = []
    warnings: list[str] = []
    problems: list[MongodbError] = []
    for collection in desired:
        existing = observed.collections.get(collection.key)
        if existing is None:
            found = _too_old(collection, observed.wire_version)
            problems += found
            steps += [] if found else [Step("create_collection", collection, (), _creation(collection))]
            continue
        found = _structure_problems(collection, existing, observed.wire_version)
        if not found:
            found, warned = _judge_counts(collection, existing, observed.counts)
            warnings += warned
        problems += found
        step = _modification(collection, existing)
        steps += [step] if step and not found else []
    if problems:
        raise MongodbError(problems[0].code, " ".join(problem.message for problem in problems))
    return Plan(tuple(steps), tuple(warnings))


def unmanaged(desired: Iterable[Collection], observed: Observed) -> list[str]:
    """Return the collections and views of the described databases that are not described, as ``database.collection``."""
    desired = list(desired)
    databases, described = {collection.database for collection in desired}, {collection.key for collection in desired}
    return sorted(
        f"{database}.{name}"
        for database, name in observed.collections
        if database in databases and (database, name) not in described and not name.startswith("system.")
    )


def picture(desired: Iterable[Collection], observed: Observed, steps: Iterable[Step]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (before, after) of the described collections as plain data for a diff."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    changing = {step.collection.key for step in steps}
    for collection in desired:
        existing = observed.collections.get(collection.key)
        if existing is not None:
            before[collection.label] = existing.picture()
        if collection.key in changing:
            after[collection.label] = reached(collection, existing).picture()
        elif existing is not None:
            after[collection.label] = before[collection.label]
    return before, after


def reached(collection: Collection, existing: Existing | None) -> Existing:
    """Return what the collection is once its step is done."""
    old = existing or Existing()
    given = collection.validator is not None
    return Existing(
        kind=collection.kind,
        validator=collection.validator if collection.validator is not None else old.validator,
        level=collection.level if given else old.level,
        action=collection.action if given else old.action,
        capped=collection.capped,
        timeseries=collection.timeseries,
        clustered_name=collection.clustered_name or old.clustered_name,
        expire_after=old.expire_after if collection.expire_after is None else collection.expire_after,
        collation=collection.collation,
        images=old.images if collection.images is None else collection.images,
    )


def _creation(collection: Collection) -> dict[str, Any]:
    """Return the fields of ``create``."""
    fields: dict[str, Any] = {}
    if collection.validator:
        fields |= _validation(collection)
    if collection.capped:
        fields |= {"capped": True, "size": collection.capped.size}
        fields |= {"max": collection.capped.max} if collection.capped.max else {}
    if collection.timeseries:
        series = collection.timeseries
        fields["timeseries"] = {"timeField": series.time_field, "granularity": series.granularity}
        fields["timeseries"] |= {"metaField": series.meta_field} if series.meta_field else {}
    if collection.clustered:
        named = {"name": collection.clustered_name} if collection.clustered_name else {}
        fields["clusteredIndex"] = {"key": {"_id": 1}, "unique": True, **named}
    if collection.expire_after not in (None, NO_EXPIRY):
        fields["expireAfterSeconds"] = collection.expire_after
    if collection.collation:
        fields["collation"] = dict(collection.collation)
    if collection.images:
        fields["changeStreamPreAndPostImages"] = {"enabled": True}
    return fields


def _validation(collection: Collection) -> dict[str, Any]:
    return {"validator": collection.validator, "validationLevel": collection.level, "validationAction": collection.action}


def _modification(collection: Collection, existing: Existing) -> Step | None:
    """Return the one ``collMod`` that makes the collection as described, None when it is."""
    changes: list[str] = []
    fields: dict[str, Any] = {}
    validation = _validation_changes(collection, existing)
    if validation:
        changes += validation
        fields |= _validation(collection) if collection.validator else {"validator": {}}
    if collection.capped and existing.capped and collection.capped != existing.capped:
        changes.append("capped")
        fields |= {"cappedSize": collection.capped.size, "cappedMax": collection.capped.max or 0}
    if collection.timeseries and existing.timeseries and collection.timeseries.granularity != existing.timeseries.granularity:
        changes.append("timeseries.granularity")
        fields["timeseries"] = {"granularity": collection.timeseries.granularity}
    if collection.expire_after not in (None, existing.expire_after):
        changes.append("expire_after_seconds")
        fields["expireAfterSeconds"] = "off" if collection.expire_after == NO_EXPIRY else collection.expire_after
    if collection.images not in (None, existing.images):
        changes.append("pre_and_post_images")
        fields["changeStreamPreAndPostImages"] = {"enabled": collection.images}
    return Step("modify_collection", collection, tuple(changes), fields) if changes else None


def _validation_changes(collection: Collection, existing: Existing) -> list[str]:
    """Return which of validator, level and action differ. Level and action say nothing without a validator."""
    if collection.validator is None or (not collection.validator and not existing.validator):
        return []
    changes = ["validator"] if canonical(collection.validator) != canonical(existing.validator) else []
    if collection.validator:
        changes += ["validation_level"] if collection.level != existing.level else []
        changes += ["validation_action"] if collection.action != existing.action else []
    return changes


def _is_stricter(collection: Collection, existing: Existing) -> bool:
    """Tell whether documents may be stored that the described validator, unlike the present one, would object to."""
    if not collection.validator or collection.level == "off":
        return False
    changes = _validation_changes(collection, existing)
    if "validator" in changes:
        return True
    loosest = ("off", "moderate", "strict")
    return loosest.index(collection.level) > loosest.index(existing.level) or (collection.action, existing.action) == ("error", "warn")


def _lowers_expiry(collection: Collection, existing: Existing) -> bool:
    wanted = collection.expire_after
    return wanted is not None and wanted != NO_EXPIRY and (existing.expire_after == NO_EXPIRY or wanted < existing.expire_after)


def _too_old(collection: Collection, wire_version: int) -> list[MongodbError]:
    """Return what a server of this version cannot make."""
    problems = []
    if collection.clustered and wire_version < CLUSTERED_SINCE:
        problems.append(("clustered", "5.3"))
    if collection.images and wire_version < RESIZE_SINCE:
        problems.append(("pre_and_post_images", "6.0"))
    return [
        MongodbError("server_too_old", f"{collection.label}: {option} needs MongoDB {version} or later. Upgrade, or take it away.")
        for option, version in problems
    ]


def _structure_problems(collection: Collection, existing: Existing, wire_version: int) -> list[MongodbError]:
    """Return what differs and no command can change."""
    label = collection.label
    if collection.kind != existing.kind:
        return [
            MongodbError(
                "wrong_kind",
                f"{label} is {KINDS.get(existing.kind, existing.kind)}, and {KINDS[collection.kind]} is described; the server cannot turn "
                "one into the other while it serves. Describe what it is, or copy the documents into a new collection of another name and "
                "let the application change over.",
            )
        ]
    fixed: list[tuple[str, Any, Any]] = []
    if collection.timeseries and existing.timeseries:
        new, old = collection.timeseries, existing.timeseries
        fixed += [(f"timeseries.{name}", getattr(old, name), getattr(new, name)) for name in ("time_field", "meta_field")]
        if old.granularity not in GRANULARITIES or _coarseness(new) < _coarseness(old):
            fixed.append(("timeseries.granularity (it can only become coarser)", old.granularity, new.granularity))
    if collection.clustered_name:
        fixed.append(("clustered.name", existing.clustered_name, collection.clustered_name))
    fixed.append(("collation", plain(existing.collation), plain(collection.collation)))
    problems = [
        MongodbError(
            "read_only_property",
            f"{label}: {name} is {old!r}, and {new!r} is described; it cannot be changed after creation. Describe what it is, or copy the "
            "documents into a new collection.",
        )
        for name, old, new in fixed
        if canonical(old) != canonical(new)
    ]
    if collection.capped and existing.capped and collection.capped != existing.capped and wire_version < RESIZE_SINCE:
        problems.append(MongodbError("server_too_old", f"{label}: size and max of a capped collection can be changed from MongoDB 6.0 on."))
    return problems + _too_old(collection, wire_version)


def _coarseness(series: TimeSeries) -> int:
    return GRANULARITIES.index(series.granularity)


def _judge_counts(
    collection: Collection, existing: Existing, counts: Mapping[tuple[str, Namespace], int | None]
) -> tuple[list[MongodbError], list[str]]:
    """Return refusals and warnings about documents that would be in the way or deleted."""
    problems: list[MongodbError] = []
    warnings: list[str] = []

    def harm(allowed: str, code: str, what: str, remedy: str) -> None:
        if allowed in collection.allow:
            warnings.append(f"{collection.label}: {what}; it is done because {allowed} is allowed.")
        else:
            problems.append(MongodbError(code, f"{collection.label}: {what}. {remedy}, or add {allowed} to allow."))

    if _is_stricter(collection, existing):
        failing = counts.get(("invalid", collection.key), 0)
        number = "an unknown number of documents (counting them took too long)" if failing is None else f"{failing} documents"
        if failing != 0 and (collection.action, collection.level) == ("error", "strict"):
            remedy = "Mend them first, begin with validation_action: warn"
            code = "count_timed_out" if failing is None else "invalid_documents"
            harm("invalid_documents", code, f"{number} would not pass the validator, and updates of them would fail", remedy)
        elif failing != 0:
            warnings.append(f"{collection.label}: {number} would not pass the validator.")
    if _lowers_expiry(collection, existing):
        expiring = counts.get(("expiring", collection.key))
        number = "an unknown number of" if expiring is None else str(expiring)
        before = "never" if existing.expire_after == NO_EXPIRY else str(existing.expire_after)
        change = f"expire_after_seconds {before} -> {collection.expire_after} deletes {number} documents at once"
        harm("lower_expiry", "lowers_expiry", change, "Keep the longer time")
    if collection.capped and existing.capped and _is_smaller(collection.capped, existing.capped):
        change = f"capped {_bounds(existing.capped)} -> {_bounds(collection.capped)} deletes the oldest documents that no longer fit"
        harm("shrink_capped", "shrinks_capped", change, "Keep the larger bounds")
    return problems, warnings


def _is_smaller(new: Capped, old: Capped) -> bool:
    return new.size < old.size or (new.max or UNLIMITED) < (old.max or UNLIMITED)


def _bounds(capped: Capped) -> str:
    return f"{capped.size} bytes" + (f", {capped.max} documents" if capped.max else "")
