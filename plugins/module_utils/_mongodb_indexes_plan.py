# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way from the indexes a collection has to those it should have. Pure: no input, no output.

A plan for one collection has this order, and every prefix of it leaves each query that had an index with one:

1. ``collMod`` of what can be changed in place (TTL, hidden, non-TTL to TTL, unique);
2. one ``createIndexes`` with everything new, and a cover for each index that is rebuilt;
3. the old indexes of those that are rebuilt are dropped, then built as described by one more ``createIndexes``;
4. covers go; then what is to be absent; then what nobody described, hidden first.

An index cannot be renamed, and two of one definition cannot be. So a cover is the described index under another name with the filter
``{}``, which lets every document in and is another definition to the server (5.0 and later); see ``covers_of`` for the exceptions.

What the plan must know and ``listIndexes`` does not tell is asked as :class:`Question`, only when a decision hangs on it:
:func:`questions` says which, the caller answers, and :func:`plan` decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import (
    COLLATION_DEFAULTS,
    COVER,
    Collation,
    Described,
    Index,
    Key,
    Namespace,
    Wanted,
    text_of,
)

# From which version on collMod does it (manual, "collMod": Change Index Properties).
TTL_IN_PLACE = (5, 1)
UNIQUE_IN_PLACE = (6, 0)
SAMPLES = 3


@dataclass(frozen=True)
class Found:
    """One collection as the server has it, without ``_id_``. ``default`` is its collation, None for the simple one."""

    exists: bool = True
    indexes: tuple[Index, ...] = ()
    default: Collation | None = None


@dataclass(frozen=True)
class Question:
    """Something to ask the server.

    ========== ================================================================ ==================================================
    ``what``   ``about``                                                        answer
    ========== ================================================================ ==================================================
    expired    the index, as it is to become                                    documents past its time, None when not to be counted
    duplicates the index, as it is to become                                    up to three samples of keys; None as above
    shard_key  None                                                             the collection's shard key as pairs, () without
    hidden     the hidden index                                                 seconds since it was hidden, at least
    ========== ================================================================ ==================================================
    """

    what: str
    namespace: Namespace
    about: Index | None = None


Answers = Mapping[Question, Any]


@dataclass(frozen=True)
class Refusal:
    """Something that is not done unless it is allowed by name."""

    code: str
    message: str


@dataclass(frozen=True)
class Step:
    """One command. ``action`` is create_indexes, modify_index or drop_indexes.

    ``indexes`` are built by ``create_indexes`` (in the server's words under ``document``), ``names`` those that it is about; ``change``
    is what ``collMod`` gets.
    """

    action: str
    namespace: Namespace
    names: tuple[str, ...]
    reason: str
    indexes: tuple[Index, ...] = ()
    change: tuple[tuple[str, Any], ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the step for a person and for a program."""
        database, collection = self.namespace
        return {
            "action": self.action,
            "database": database,
            "collection": collection,
            "indexes": list(self.names),
            "reason": f"{database}.{collection}: {self.reason}",
        }


@dataclass
class Plan:
    """What to do, and what is only to be said.

    ``adopted`` and ``unmanaged`` and ``pending`` are lists of plain data; ``before`` and ``after`` are the diff.
    """

    steps: list[Step] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    adopted: list[dict[str, str]] = field(default_factory=list)
    unmanaged: list[dict[str, Any]] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    after: dict[str, dict[str, Any]] = field(default_factory=dict)


def plan(described: Sequence[Described], found: Mapping[Namespace, Found], answers: Answers, version: tuple[int, int]) -> Plan:
    """Return what to do for all collections; no steps when there is nothing to do.

    :param version: of the server's features, such as (6, 0).
    :raises MongodbError: what is refused, all of it in one message, with the code of the first: ``lowers_ttl``,
        ``rebuild_not_allowed``, ``rebuild_leaves_gap``, ``duplicates``, ``drops_shard_key_index``, ``drops_last_unique`` or
        ``build_conflict``.
    """
    whole = draft(described, found, answers, version)
    if whole.refusals:
        raise MongodbError(whole.refusals[0].code, " ".join(refusal.message for refusal in whole.refusals))
    return whole


def draft(described: Sequence[Described], found: Mapping[Namespace, Found], answers: Answers, version: tuple[int, int]) -> Plan:
    """Return the plan also when something in it is refused."""
    return _decide(described, found, answers, version)[0]


def questions(
    described: Sequence[Described], found: Mapping[Namespace, Found], answers: Answers, version: tuple[int, int]
) -> list[Question]:
    """Return what the plan still has to know; empty when everything is answered. May bring up more once these are answered."""
    _whole, asked = _decide(described, found, answers, version)
    return [question for question in asked if question not in answers]


def settled(described: Described, found: Found) -> Described:
    """Return the description with the collection's own collation for indexes that are described without one."""
    wanted = tuple(
        replace(one, index=replace(one.index, collation=found.default)) if one.index.inherits else one for one in described.wanted
    )
    return replace(described, wanted=wanted)


def unsure_collations(described: Described, found: Found) -> set[Collation]:
    """Return described collations that the server has under the same locale and otherwise not: some locales have own defaults."""
    theirs = {index.collation for index in found.indexes if index.collation}
    locales = {dict(collation)["locale"] for collation in theirs}
    ours = {wanted.index.collation for wanted in described.wanted if wanted.index.collation and not wanted.index.inherits}
    return {collation for collation in ours if collation not in theirs and dict(collation)["locale"] in locales}


# ----------------------------------------------------------------------------------------------------------------------- matching


@dataclass(frozen=True)
class Pair:
    """A described index and the one that stands for it, if any.

    ``forced``: it could be adopted, but its own name is needed for another index or is to be absent. ``holder``: an index that nobody
    described and that holds the name.
    """

    wanted: Wanted
    have: Index | None
    forced: bool = False
    holder: Index | None = None

    @property
    def renamed(self) -> bool:
        """Tell whether the index has another name than described."""
        return self.have is not None and self.have.name != self.wanted.index.name


def pair_up(described: Described, found: Found, version: tuple[int, int]) -> tuple[list[Pair], list[Index], list[Index]]:
    """Return (pairs of what is to be present, indexes to be absent, indexes nobody described). Covers are in none of them.

    The identity of an index comes before its name: keys under another name are adopted; the same name with other keys is rebuilt.
    """
    free = {index.name: index for index in found.indexes if not index.name.startswith(COVER)}
    present = [wanted for wanted in described.wanted if wanted.present]
    have: dict[str, Index] = {}

    def take(match: Any) -> None:
        for wanted in present:
            if wanted.index.name in have:
                continue
            same = [index for index in free.values() if match(wanted.index, index)]
            if same:
                best = next((index for index in same if index.name == wanted.index.name), same[0])
                have[wanted.index.name] = free.pop(best.name)

    take(lambda ours, theirs: ours.name == theirs.name and not differences(ours, theirs))
    take(lambda ours, theirs: ours.signature == theirs.signature and not rebuilt_options(ours, theirs))
    if version >= UNIQUE_IN_PLACE:
        take(lambda ours, theirs: ours.unique and not theirs.unique and ours.signature == replace(theirs, unique=True).signature)
    take(lambda ours, theirs: ours.signature == theirs.signature)
    take(lambda ours, theirs: ours.text and theirs.text)
    take(lambda ours, theirs: ours.name == theirs.name)
    gone: list[Index] = []
    for wanted in described.wanted:
        if wanted.present:
            continue
        for index in list(free.values()):
            if index.keys == wanted.index.keys if wanted.keyed else index.name == wanted.index.name:
                gone.append(free.pop(index.name))
    return [Pair(wanted, have.get(wanted.index.name)) for wanted in present], gone, list(free.values())


def rebuilt_options(ours: Index, theirs: Index) -> list[str]:
    """Return the names of what differs and only a rebuild could change, besides a step from not unique to unique."""
    names: list[str] = []
    for name, label in (("keys", "keys"), ("filter", "partial_filter_expression"), ("collation", "collation"), ("sparse", "sparse")):
        if getattr(ours, name) != getattr(theirs, name):
            names.append(label)
    if theirs.unique and not ours.unique:
        names.append("unique")
    mine, other = dict(ours.options), dict(theirs.options)
    versions = {"textIndexVersion", "2dsphereIndexVersion"}
    for name in sorted(set(mine) | set(other)):
        # A version that nobody asked for is the server's choice.
        if name in versions and name not in mine:
            continue
        if mine.get(name) != other.get(name):
            names.append(name)
    if theirs.ttl is not None and ours.ttl is None:
        names.append("expire_after_seconds")
    return names


def differences(ours: Index, theirs: Index) -> list[str]:
    """Return the names of everything that differs, apart from the index's name."""
    names = rebuilt_options(ours, theirs)
    if ours.unique and not theirs.unique:
        names.append("unique")
    if not ours.unique and theirs.prepare_unique and not theirs.unique:
        names.append("prepare_unique")
    if ours.ttl != theirs.ttl and ours.ttl is not None:
        names.append("expire_after_seconds")
    if ours.hidden != theirs.hidden:
        names.append("hidden")
    return names


def covers_of(index: Index, *, unique: bool) -> list[Index] | None:
    """Return the indexes that do the work of ``index`` while it is rebuilt; None when nothing can.

    Without a filter it is the same index with the filter ``{}``. With one, ``_id`` after its keys makes it another definition that
    serves the same queries; one more keeps documents unique, under a filter that says the same in other words. A sparse index is
    covered by one that is not sparse. Nothing covers a text index (a collection has one) nor a filtered wildcard index.
    """
    if index.text or (index.wildcard and index.filter is not None):
        return None
    document = {name: value for name, value in index.document.items() if name not in ("unique", "sparse", "expireAfterSeconds", "hidden")}
    base = replace(index, unique=False, sparse=False, ttl=None, hidden=False, prepare_unique=False, document=document)
    if index.filter is None and not index.sparse:
        return [_named(replace(base, unique=unique), {"partialFilterExpression": {}, **({"unique": True} if unique else {})})]
    covers = []
    if index.filter is None:
        covers.append(_named(base, {"partialFilterExpression": {}}))
    elif ("_id", 1) in index.keys or ("_id", -1) in index.keys or len(index.keys) >= 32:
        return None
    else:
        key = {**document["key"], "_id": 1}
        covers.append(_named(replace(base, keys=(*index.keys, ("_id", 1))), {"key": key}))
    if unique:
        if index.sparse and len(index.keys) > 1:
            return None
        conditions = [{index.keys[0][0]: {"$exists": True}}] if index.sparse else [document["partialFilterExpression"]]
        conditions.append({"_id": {"$exists": True}})
        covers.append(_named(replace(base, unique=True), {"unique": True, "partialFilterExpression": {"$and": conditions}}))
    return covers


def _named(cover: Index, more: Mapping[str, Any]) -> Index:
    """Give a cover a name made of its definition, so that the next run knows it again."""
    document = {**cover.document, **more}
    document.pop("name", None)
    word = hashlib.sha256(text_of(document).encode()).hexdigest()[:16]
    return replace(cover, name=COVER + word, document={**document, "name": COVER + word})


# --------------------------------------------------------------------------------------------------------------------- decisions


def _decide(
    described: Sequence[Described], found: Mapping[Namespace, Found], answers: Answers, version: tuple[int, int]
) -> tuple[Plan, list[Question]]:
    whole, asked = Plan(), []
    for one in described:
        decider = _Collection(settled(one, found[one.namespace]), found[one.namespace], answers, version, whole)
        decider.decide()
        asked += decider.asked
    return whole, list(dict.fromkeys(asked))


class _Collection:
    """Decides about one collection and adds to the plan."""

    def __init__(self, described: Described, found: Found, answers: Answers, version: tuple[int, int], whole: Plan) -> None:
        self.described, self.found, self.answers, self.version, self.plan = described, found, answers, version, whole
        self.asked: list[Question] = []
        self.modify: list[Step] = []
        self.create: list[Index] = []
        self.covers: list[Index] = []
        self.rebuild: list[Index] = []
        self.replaced: list[Index] = []
        self.joined: list[str] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        # What the collection has in the end, for the rules about the last of a kind.
        self.remaining: list[Index] = []

    def decide(self) -> None:
        """Fill the plan."""
        pairs, gone, others = self._free_names(*pair_up(self.described, self.found, self.version))
        for pair in pairs:
            self._judge_pair(pair)
        hide, drop = self._judge_others(others)
        self._judge_losses([*self.replaced, *gone, *drop], gone, [*others])
        leftovers = [index for index in self.found.indexes if index.name.startswith(COVER)]
        self._write_steps(gone, hide, drop, leftovers)
        if self.before or self.after:
            self.plan.before[self.described.label] = self.before
            self.plan.after[self.described.label] = self.after

    def _free_names(self, pairs: list[Pair], gone: list[Index], others: list[Index]) -> tuple[list[Pair], list[Index], list[Index]]:
        """Find out which names of indexes that are to be built are held by others, and let those go first."""
        absent = {wanted.index.name for wanted in self.described.wanted if not wanted.present and not wanted.keyed}
        pairs = [replace(pair, forced=pair.renamed and pair.have is not None and pair.have.name in absent) for pair in pairs]
        while True:
            needed = {pair.wanted.index.name for pair in pairs if pair.have is None or self._rebuilt(pair)}
            freed = [replace(pair, forced=True) if pair.have and pair.renamed and pair.have.name in needed else pair for pair in pairs]
            if freed == pairs:
                break
            pairs = freed
        held = {index.name: index for index in others if index.name in needed}
        pairs = [replace(pair, holder=held.get(pair.wanted.index.name)) for pair in pairs]
        self.replaced += [index for index in gone if index.name in needed]
        return pairs, [index for index in gone if index.name not in needed], [index for index in others if index.name not in held]

    def _rebuilt(self, pair: Pair) -> list[str]:
        """Return the names of what can only be changed by building the index anew, on a server of this version."""
        ours, theirs = pair.wanted.index, pair.have
        if theirs is None:
            return []
        names = rebuilt_options(ours, theirs)
        if ours.unique and not theirs.unique and self.version < UNIQUE_IN_PLACE:
            names.append("unique")
        if ours.ttl is not None and theirs.ttl is None and self.version < TTL_IN_PLACE:
            names.append("expire_after_seconds")
        return [*names, "name"] if pair.forced else names

    # -- one described index

    def _judge_pair(self, pair: Pair) -> None:
        ours, theirs = pair.wanted.index, pair.have
        if pair.holder is not None:
            self.replaced.append(pair.holder)
            self.before[pair.holder.name] = pair.holder.shown()
            if not {"rebuild", "rebuild_with_gap"} & pair.wanted.allow:
                self._refuse("rebuild_not_allowed", ours.name, "another index has its name: allow: [rebuild] to replace that one.")
        if theirs is None:
            self._judge_new(pair.wanted)
            return
        if theirs.building:
            self._judge_building(pair.wanted, theirs)
            return
        rebuilt = self._rebuilt(pair)
        if rebuilt:
            self._judge_rebuild(pair.wanted, theirs, rebuilt)
            return
        if pair.renamed:
            self.plan.adopted.append({"collection": self.described.label, "index": ours.name, "name": theirs.name})
        self._judge_changes(pair.wanted, theirs)

    def _judge_new(self, wanted: Wanted) -> None:
        index = self._without_duplicates(wanted, wanted.index)
        if index is None:
            return
        if index.ttl is not None and self.found.exists:
            self._expiring(wanted, index, f"is new with expire_after_seconds {index.ttl}", when_none=False)
        self.create.append(index)
        self.remaining.append(index)
        self.after[index.name] = index.shown()

    def _judge_building(self, wanted: Wanted, theirs: Index) -> None:
        """Join a build that is in flight when it is ours; it cannot be changed before it is done."""
        ours = wanted.index
        if ours.name != theirs.name or differences(ours, theirs):
            self._refuse(
                "build_conflict",
                theirs.name,
                f"another index is being built there at this moment, with other {', '.join(differences(ours, theirs)) or 'name'}. Run "
                "again when it is done.",
            )
            return
        self.joined.append(ours.name)
        self.create.append(ours)
        self.remaining.append(ours)
        self.after[ours.name] = ours.shown()

    def _judge_changes(self, wanted: Wanted, theirs: Index) -> None:
        """Change in place what differs."""
        ours, name = wanted.index, theirs.name
        after = theirs
        change: dict[str, Any] = {}
        words: list[str] = []
        if ours.hidden != theirs.hidden:
            change["hidden"] = ours.hidden
            words.append("hide it" if ours.hidden else "show it again to queries")
        if ours.ttl is not None and ours.ttl != theirs.ttl:
            was = "none" if theirs.ttl is None else theirs.ttl
            if theirs.ttl is None or ours.ttl < theirs.ttl:
                self._expiring(wanted, ours, f"expire_after_seconds {was} -> {ours.ttl}", when_none=theirs.ttl is not None)
            change["expireAfterSeconds"] = ours.ttl
            words.append(f"expire_after_seconds {was} -> {ours.ttl}")
        if change:
            after = replace(after, hidden=ours.hidden, ttl=ours.ttl if ours.ttl is not None else theirs.ttl)
            self._modify(name, change, " and ".join(words))
        if ours.unique and not theirs.unique:
            after = self._make_unique(wanted, theirs, after)
        elif not ours.unique and theirs.prepare_unique and not theirs.unique:
            self._modify(name, {"prepareUnique": False}, "let duplicates in again")
            after = replace(after, prepare_unique=False)
        self.remaining.append(after)
        if after != theirs:
            self.before[name] = theirs.shown()
            self.after[name] = after.shown()

    def _make_unique(self, wanted: Wanted, theirs: Index, after: Index) -> Index:
        prepared = self._without_duplicates(wanted, replace(theirs, unique=True))
        if prepared is None:
            return after
        if not theirs.prepare_unique:
            self._modify(theirs.name, {"prepareUnique": True}, "let no new duplicates in")
            after = replace(after, prepare_unique=True)
        if not prepared.unique:
            return after
        self._modify(theirs.name, {"unique": True}, "make it unique")
        return replace(after, unique=True, prepare_unique=False)

    def _judge_rebuild(self, wanted: Wanted, theirs: Index, names: Sequence[str]) -> None:
        ours = wanted.index
        self.replaced.append(theirs)
        what = f"{', '.join(names)} can only be changed by building it anew"
        index = self._without_duplicates(wanted, ours)
        if index is None:
            return
        # The new definition is no worse than the old one when that was unique, too.
        covers = covers_of(ours, unique=index.unique and theirs.unique)
        if not {"rebuild", "rebuild_with_gap"} & wanted.allow:
            self._refuse("rebuild_not_allowed", theirs.name, f"{what}: allow: [rebuild].{_seen(ours, theirs, names)}")
        elif covers is None and "rebuild_with_gap" not in wanted.allow:
            self._refuse(
                "rebuild_leaves_gap",
                theirs.name,
                f"{what}, and nothing can serve its queries meanwhile: allow: [rebuild_with_gap].{_seen(ours, theirs, names)}",
            )
        if ours.ttl is not None and (theirs.ttl is None or ours.ttl < theirs.ttl):
            was = "none" if theirs.ttl is None else theirs.ttl
            self._expiring(wanted, ours, f"expire_after_seconds {was} -> {ours.ttl}", when_none=theirs.ttl is not None)
        self.covers += covers or []
        self.rebuild.append(index)
        self.remaining.append(index)
        self.before[theirs.name] = theirs.shown()
        self.after[index.name] = index.shown()

    def _without_duplicates(self, wanted: Wanted, index: Index) -> Index | None:
        """Return the index as it can be had now: not yet unique where duplicates stand in the way, None when that is refused."""
        if not index.unique or not self.found.exists:
            return index
        samples = self._ask("duplicates", index)
        if not samples:
            # Also when it could not be counted in time: the server itself refuses in the end.
            return index
        if "duplicates" in wanted.allow and self.version >= UNIQUE_IN_PLACE:
            document = {name: value for name, value in index.document.items() if name != "unique"}
            self.plan.pending.append(f"{self.described.label}: {index.name} becomes unique when its duplicates are gone.")
            return replace(index, unique=False, prepare_unique=True, document={**document, "prepareUnique": True})
        text = "; ".join(json.dumps(sample, default=str) for sample in samples[:SAMPLES])
        self._refuse(
            "duplicates",
            index.name,
            f"cannot be unique, there are documents with the same keys: {text}. Remove them, or allow: [duplicates] to let no new ones "
            "in until they are removed (MongoDB 6.0 and later).",
        )
        return None

    def _expiring(self, wanted: Wanted, index: Index, what: str, *, when_none: bool) -> None:
        """Refuse a TTL that would delete documents; ``when_none``: also when there are none to delete at this moment."""
        if "lower_ttl" in wanted.allow:
            return
        count = self._ask("expired", index)
        if count == 0 and not when_none:
            return
        many = (
            "documents that could not be counted (no time, or no right to read)"
            if count is None
            else f"about {count} document{'s' if count != 1 else ''}"
        )
        self._refuse("lowers_ttl", index.name, f"{what} would delete {many} at once: allow: [lower_ttl].")

    # -- what nobody described

    def _judge_others(self, others: Sequence[Index]) -> tuple[list[Index], list[Index]]:
        """Return (to hide, to drop)."""
        hide: list[Index] = []
        drop: list[Index] = []
        mode = self.described.unmanaged
        for index in others:
            if mode == "keep" or index.building:
                continue
            report: dict[str, Any] = {"collection": self.described.label, "name": index.name, **index.shown()}
            self.plan.unmanaged.append(report)
            if mode == "report":
                continue
            if mode == "drop" and self.described.soak == 0:
                drop.append(index)
            elif not index.hidden:
                hide.append(index)
                if mode == "drop":
                    report["drop_in"] = self.described.soak
            elif mode == "drop":
                age = self._ask("hidden", index)
                if age is not None and age >= self.described.soak:
                    drop.append(index)
                else:
                    report["drop_in"] = self.described.soak - int(age or 0)
        for index in others:
            if index not in drop:
                self.remaining.append(index)
        for index in hide:
            self.before[index.name] = index.shown()
            self.after[index.name] = replace(index, hidden=True).shown()
        return hide, drop

    def _judge_losses(self, lost: Sequence[Index], gone: Sequence[Index], others: Sequence[Index]) -> None:
        """Refuse to lose the last unique index and the last one that serves the shard key.

        An index that is to be hidden now and dropped later is judged now, so that nobody is surprised in a week.
        """
        doomed = list(others) if self.described.unmanaged == "drop" else []
        lost = list(dict.fromkeys([*lost, *doomed]))
        if not lost:
            return
        remaining = [index for index in self.remaining if index not in doomed]
        allow = {index.name: self._allow_of(index) for index in lost}
        last = [index for index in lost if index.unique]
        if last and not any(index.unique for index in remaining):
            for index in last:
                if "drop_last_unique" not in allow[index.name]:
                    self._refuse(
                        "drops_last_unique",
                        index.name,
                        "no unique index would be left in the collection: describe it, or allow: [drop_last_unique].",
                    )
        key: tuple[Key, ...] = tuple(self._ask("shard_key") or ())
        if key and not any(_serves(index, key) for index in remaining):
            for index in lost:
                if _serves(index, key) and "drop_shard_key_index" not in allow[index.name]:
                    self._refuse(
                        "drops_shard_key_index",
                        index.name,
                        f"the collection is sharded by {dict(key)} and no other index serves that: describe it, or allow: "
                        "[drop_shard_key_index].",
                    )

    def _allow_of(self, index: Index) -> frozenset[str]:
        for wanted in self.described.wanted:
            if wanted.index.name == index.name or (wanted.keyed and wanted.index.keys == index.keys):
                return wanted.allow
        return self.described.allow

    # -- steps

    def _write_steps(self, gone: Sequence[Index], hide: Sequence[Index], drop: Sequence[Index], leftovers: Sequence[Index]) -> None:
        standing = {index.name for index in leftovers if not index.building}
        covers = list({cover.name: cover for cover in self.covers}.values())
        steps = list(self.modify)
        old = {index.name for index in self.replaced}
        # What takes the name of another index has to wait until that one has gone.
        late = [*self.rebuild, *(index for index in self.create if index.name in old)]
        self.create = [index for index in self.create if index.name not in old]
        first = [*self.create, *(cover for cover in covers if cover.name not in standing)]
        if first:
            steps.append(self._creation(first))
        if self.replaced:
            steps.append(self._drop(self.replaced, "drop {}, which is in the way"))
        if late:
            steps.append(self._step("create_indexes", late, f"build {_names(late)} as described", indexes=late))
        used = {index.name: index for index in (*leftovers, *covers)}
        if used:
            steps.append(self._drop(list(used.values()), "drop what stood in: {}"))
        if gone:
            steps.append(self._drop(gone, "drop {}, which should be absent"))
        for index in hide:
            steps.append(self._step("modify_index", [index], f"hide {index.name}, which nobody described", change=(("hidden", True),)))
        if drop:
            steps.append(self._drop(drop, "drop {}, which nobody described"))
        for index in (*gone, *drop):
            self.before[index.name] = index.shown()
        self.plan.steps += steps

    def _creation(self, indexes: Sequence[Index]) -> Step:
        parts = []
        new = [index for index in self.create if index.name not in self.joined]
        if new:
            parts.append(f"create {_names(new)}")
        if self.joined:
            parts.append(f"join the build of {', '.join(self.joined)}, which is under way")
        if len(indexes) > len(self.create):
            parts.append(f"let {_names([one for one in indexes if one not in self.create])} stand in for {_names(self.rebuild)}")
        return self._step("create_indexes", indexes, "; ".join(parts), indexes=indexes)

    def _drop(self, indexes: Sequence[Index], wording: str) -> Step:
        names = _names(indexes)
        return self._step("drop_indexes", indexes, wording.format(names))

    def _modify(self, name: str, change: Mapping[str, Any], words: str) -> None:
        self.modify.append(Step("modify_index", self.described.namespace, (name,), f"{name}: {words}", change=tuple(change.items())))

    def _step(
        self,
        action: str,
        about: Sequence[Index],
        reason: str,
        *,
        indexes: Sequence[Index] = (),
        change: tuple[tuple[str, Any], ...] = (),
    ) -> Step:
        return Step(action, self.described.namespace, tuple(index.name for index in about), reason, tuple(indexes), change)

    # -- helpers

    def _ask(self, what: str, about: Index | None = None) -> Any:
        question = Question(what, self.described.namespace, about)
        self.asked.append(question)
        return self.answers.get(question)

    def _refuse(self, code: str, name: str, message: str) -> None:
        self.plan.refusals.append(Refusal(code, f"{self.described.label}, index {name}: {message}"))


def _names(indexes: Sequence[Index]) -> str:
    return ", ".join(index.name for index in indexes)


def _serves(index: Index, key: Sequence[Key]) -> bool:
    """Tell whether a sharded collection can live with this index: its keys begin with the shard key, and it has every document."""
    plain = index.filter is None and not index.sparse and index.collation is None
    return plain and not index.building and index.keys[: len(key)] == tuple(key)


def _seen(ours: Index, theirs: Index, names: Sequence[str]) -> str:
    """Return (is, should be) of what differs, for the message of a refusal."""
    is_, should = theirs.shown(), ours.shown()
    parts = []
    for name in names:
        was = is_.get(name, _default(name))
        parts.append(f"{name} is {json.dumps(was, default=str)} and should be {json.dumps(should.get(name, _default(name)), default=str)}")
    return f" ({'; '.join(parts)})"


def _default(name: str) -> Any:
    return False if name in ("unique", "sparse", "hidden") else COLLATION_DEFAULTS.get(name)
