# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read descriptions of MongoDB indexes, and what ``listIndexes`` says, into one normal form. Pure: no input, no output.

Both sides become :class:`Index`, so that two of them are equal exactly when nobody could tell their indexes apart:

* the order of keys counts, that of everything else does not;
* 1, 1.0 and a 64-bit 1 are one number;
* what the server adds is left out (``v``, versions nobody asked for) or filled in on both sides (collations, options of text and 2d);
* ``text`` keys become ``_fts`` and ``_ftsx`` with weights, as the server stores them;
* filters are taken apart into a set of conditions: ``{a: 1}``, ``{a: {$eq: 1.0}}`` and ``{$and: [{a: 1}]}`` are one.

The rules for what goes together are those of the manual ("createIndexes", "Index Types", "TTL Indexes", "Partial Indexes"), checked
against a real server by the tests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._fields import Reader, closest, shown
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

Key = tuple[str, "int | str"]  # (field, 1, -1 or the name of a kind)
Namespace = tuple[str, str]  # (database, collection)
Collation = tuple[tuple[str, Any], ...]

# Names that start like this belong to indexes that stand in while another one is rebuilt.
COVER = "linda_ops_cover_"
KINDS = ("2d", "2dsphere", "hashed", "text")
UNMANAGED = ("keep", "report", "hide", "drop")
ALLOW = ("drop_last_unique", "drop_shard_key_index", "duplicates", "lower_ttl", "rebuild", "rebuild_with_gap")
WEEK = 7 * 24 * 3600
MOST_INDEXES = 64  # for each collection, _id_ among them
MOST_FIELDS = 32
LONGEST_TTL = 2**31 - 1  # seconds
COLLATION_DEFAULTS: Mapping[str, Any] = {
    "caseLevel": False,
    "caseFirst": "off",
    "strength": 3,
    "numericOrdering": False,
    "alternate": "non-ignorable",
    "maxVariable": "punct",
    "normalization": False,
    "backwards": False,
}
COLLATION_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "caseFirst": ("upper", "lower", "off"),
    "strength": (1, 2, 3, 4, 5),
    "alternate": ("non-ignorable", "shifted"),
    "maxVariable": ("punct", "space"),
}
TEXT_DEFAULTS: Mapping[str, Any] = {"default_language": "english", "language_override": "language"}
PLANE_DEFAULTS: Mapping[str, Any] = {"bits": 26, "min": -180, "max": 180}
VERSIONS = ("2dsphereIndexVersion", "textIndexVersion")
# The server's word for each option, and the words of community.mongodb and pymongo that mean the same.
OPTIONS: Mapping[str, str] = {
    "bits": "bits",
    "collation": "collation",
    "default_language": "default_language",
    "expire_after_seconds": "expireAfterSeconds",
    "hidden": "hidden",
    "language_override": "language_override",
    "max": "max",
    "min": "min",
    "name": "name",
    "partial_filter_expression": "partialFilterExpression",
    "sparse": "sparse",
    "sphere_index_version": "2dsphereIndexVersion",
    "storage_engine": "storageEngine",
    "text_index_version": "textIndexVersion",
    "unique": "unique",
    "weights": "weights",
    "wildcard_projection": "wildcardProjection",
}
ALIASES = {server: ours for ours, server in OPTIONS.items()} | {"expireafterseconds": "expire_after_seconds"}
# Without effect since MongoDB 4.2; many descriptions still carry it.
IGNORED = ("background",)
FILTER_OPERATORS = ("$and", "$eq", "$exists", "$gt", "$gte", "$in", "$lt", "$lte", "$or", "$type")
# A mapping with one of these is a value in extended JSON, not a condition.
EXTENDED = frozenset(
    {
        "$binary",
        "$date",
        "$maxKey",
        "$minKey",
        "$numberDecimal",
        "$numberDouble",
        "$numberInt",
        "$numberLong",
        "$oid",
        "$regularExpression",
        "$timestamp",
        "$uuid",
    }
)
TYPE_NUMBERS: Mapping[str, int] = {
    "double": 1,
    "string": 2,
    "object": 3,
    "array": 4,
    "binData": 5,
    "objectId": 7,
    "bool": 8,
    "date": 9,
    "null": 10,
    "regex": 11,
    "int": 16,
    "timestamp": 17,
    "long": 18,
    "decimal": 19,
}


@dataclass(frozen=True)
class Index:
    """One index in normal form.

    ``filter``, ``collation`` (None: simple) and ``options`` are what is compared; ``document`` is what ``createIndexes`` is sent, as
    plain data with extended JSON. ``inherits``: described without a collation, so it takes the collection's. ``ttl`` is in seconds.
    """

    name: str
    keys: tuple[Key, ...]
    unique: bool = False
    sparse: bool = False
    hidden: bool = False
    prepare_unique: bool = False
    ttl: int | None = None
    filter: str | None = None
    collation: Collation | None = None
    options: tuple[tuple[str, Any], ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    building: bool = False
    inherits: bool = field(default=False, compare=False)

    @property
    def text(self) -> bool:
        """Tell whether this is the one text index a collection may have."""
        return any(kind == "text" for _field, kind in self.keys)

    @property
    def wildcard(self) -> bool:
        """Tell whether this covers fields that nobody named."""
        return not self.text and any(name == "$**" or name.endswith(".$**") for name, _kind in self.keys)

    @property
    def signature(self) -> tuple[object, ...]:
        """What the server takes for the identity of an index besides its name (5.0 and later)."""
        projection = dict(self.options).get("wildcardProjection")
        return (self.keys, self.collation, self.filter, self.unique, self.sparse, projection)

    def shown(self) -> dict[str, Any]:
        """Return the index for a person: keys in order, and what is not default."""
        wanted: dict[str, Any] = {"keys": [{name: kind} for name, kind in self.keys if name != "_ftsx"]}
        for name in ("unique", "sparse", "hidden", "prepare_unique"):
            if getattr(self, name):
                wanted[name] = True
        if self.ttl is not None:
            wanted["expire_after_seconds"] = self.ttl
        if self.filter is not None:
            wanted["partial_filter_expression"] = self.document.get("partialFilterExpression")
        if self.collation is not None:
            wanted["collation"] = {name: value for name, value in self.collation if COLLATION_DEFAULTS.get(name) != value}
        defaults = {**TEXT_DEFAULTS, **PLANE_DEFAULTS}
        # Versions are the server's business unless somebody asks for one; they would make a diff of nothing.
        wanted.update((name, json.loads(value)) for name, value in self.options if json.loads(value) != defaults.get(name))
        return wanted


@dataclass(frozen=True)
class Wanted:
    """One described index. ``keyed`` False: it is to be absent and told by its name, else by its keys."""

    index: Index
    present: bool = True
    keyed: bool = True
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Described:
    """One described collection. ``soak`` is the least number of seconds an unmanaged index stays hidden before it is dropped."""

    database: str
    collection: str
    wanted: tuple[Wanted, ...] = ()
    unmanaged: str = "keep"
    soak: int = WEEK
    allow: frozenset[str] = frozenset()

    @property
    def namespace(self) -> Namespace:
        """Return (database, collection)."""
        return (self.database, self.collection)

    @property
    def label(self) -> str:
        """Return the collection as the server writes it."""
        return f"{self.database}.{self.collection}"


# ------------------------------------------------------------------------------------------------------------------ normal forms


def number(value: Any) -> Any:
    """Return a whole number as int whatever type it had; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return int(value) if math.isfinite(value) and int(value) == value else float(value)


def canonical(value: Any) -> Any:
    """Return a value with its numbers made alike and its mappings as lists of pairs, because in a value their order counts."""
    if isinstance(value, Mapping):
        return {"": [[str(name), canonical(entry)] for name, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        return [canonical(entry) for entry in value]
    return number(value)


def text_of(value: Any) -> str:
    """Return the canonical form as text, so that it can be compared and kept in a set."""
    return json.dumps(canonical(value), sort_keys=True, default=str)


def filter_form(expression: Mapping[str, Any] | None) -> str | None:
    """Return the normal form of a partial filter, None when there is none or it lets every document in."""
    conditions = _conditions(expression or {})
    return json.dumps(sorted(conditions)) if conditions else None


def _conditions(expression: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for name, value in expression.items():
        if name == "$and" and isinstance(value, (list, tuple)):
            for part in value:
                found |= _conditions(part)
        elif name == "$or" and isinstance(value, (list, tuple)):
            found.add(json.dumps(["", "$or", sorted({json.dumps(sorted(_conditions(part))) for part in value})]))
        elif _is_operators(value):
            found.update(json.dumps([name, operator, _operand(operator, operand)]) for operator, operand in value.items())
        else:
            found.add(json.dumps([name, "$eq", text_of(value)]))
    return found


def _is_operators(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(str(key).startswith("$") for key in value) and not EXTENDED & set(value)


def _operand(operator: str, operand: Any) -> str:
    if operator == "$exists":
        return text_of(bool(operand))
    if operator == "$type":
        listed = operand if isinstance(operand, (list, tuple)) else [operand]
        return text_of(sorted({str(TYPE_NUMBERS.get(one, number(one)) if isinstance(one, str) else number(one)) for one in listed}))
    if operator == "$in" and isinstance(operand, (list, tuple)):
        return json.dumps(sorted({text_of(one) for one in operand}))
    return text_of(operand)


def collation_form(collation: Mapping[str, Any] | None) -> Collation | None:
    """Return a collation with the server's defaults filled in and without its library's version; None for the simple one."""
    if not collation or collation.get("locale") == "simple":
        return None
    whole = {**COLLATION_DEFAULTS, **{name: number(value) for name, value in collation.items() if name != "version"}}
    return tuple(sorted(whole.items()))


def _projection_form(projection: Mapping[str, Any], prefix: str = "") -> dict[str, bool]:
    flat: dict[str, bool] = {}
    for name, value in projection.items():
        if isinstance(value, Mapping):
            flat |= _projection_form(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = bool(value)
    return flat


def _options_form(keys: Sequence[Key], given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the options that only a rebuild could change, defaults filled in. ``given`` has the server's names."""
    kinds = {kind for _field, kind in keys}
    form: dict[str, Any] = {name: number(given[name]) for name in VERSIONS if given.get(name) is not None}
    if "text" in kinds:
        form |= {name: given.get(name) or default for name, default in TEXT_DEFAULTS.items()}
        form["weights"] = {name: number(weight) for name, weight in sorted(given.get("weights", {}).items())}
    if "2d" in kinds:
        form |= {name: number(default if given.get(name) is None else given[name]) for name, default in PLANE_DEFAULTS.items()}
    projection = _projection_form(given.get("wildcardProjection") or {})
    # _id is left out unless somebody wants it; MongoDB 5.0 writes that down, 6.0 does not.
    if not projection.get("_id"):
        projection.pop("_id", None)
    if projection:
        form["wildcardProjection"] = dict(sorted(projection.items()))
    if given.get("storageEngine"):
        form["storageEngine"] = given["storageEngine"]
    return tuple(sorted((name, json.dumps(value, sort_keys=True, default=str)) for name, value in form.items()))


def _stored_keys(keys: Sequence[Key]) -> tuple[Key, ...]:
    """Return keys as the server stores them: all text fields as one ``_fts`` and ``_ftsx``."""
    stored: list[Key] = []
    for name, kind in keys:
        if kind != "text" or name == "_fts":
            stored.append((name, kind))
        elif ("_fts", "text") not in stored:
            stored += [("_fts", "text"), ("_ftsx", 1)]
    return tuple(stored)


def _direction(value: Any) -> int | str:
    """Any positive number sorts as 1 does, any negative one as -1 does."""
    if isinstance(value, str):
        return value
    return -1 if isinstance(value, (int, float)) and value < 0 else 1


def read_index(found: Mapping[str, Any], *, building: bool = False) -> Index:
    """Read one index as ``listIndexes`` gives it (plain data, keys in order)."""
    keys = tuple((str(name), _direction(value)) for name, value in found["key"].items())
    ttl = found.get("expireAfterSeconds")
    return Index(
        name=str(found["name"]),
        keys=keys,
        unique=bool(found.get("unique")),
        sparse=bool(found.get("sparse")),
        hidden=bool(found.get("hidden")),
        prepare_unique=bool(found.get("prepareUnique")),
        ttl=None if ttl is None else int(ttl),
        filter=filter_form(found.get("partialFilterExpression")),
        collation=collation_form(found.get("collation")),
        options=_options_form(keys, found),
        document=dict(found),
        building=building,
    )


# ------------------------------------------------------------------------------------------------------------------------ reading


@dataclass
class _Problems:
    """What is wrong, each with its code; the first code is that of the whole."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, code: str, text: str) -> None:
        self.found.append((code, text))

    def take(self, texts: Iterable[str]) -> None:
        self.found += [("bad_index", text) for text in texts]

    def refuse(self) -> None:
        if self.found:
            raise MongodbError(self.found[0][0], "; ".join(text for _code, text in self.found) + ".")


def parse_collections(
    raw: Sequence[object], *, unmanaged: str = "keep", soak: int = WEEK, allow: Sequence[str] = ()
) -> tuple[Described, ...]:
    """Read the ``collections`` option. The named arguments are what holds where a collection says nothing itself.

    :raises MongodbError: ``bad_index`` or ``duplicate_index``, with every problem found and the field it is in.
    """
    problems = _Problems()
    general = _read_allow(list(allow), "allow", problems)
    described: list[Described] = []
    for place, entry in enumerate(raw):
        texts: list[str] = []
        label = f"collections[{place}]"
        if isinstance(entry, Mapping) and entry.get("collection"):
            label += f" ({entry.get('database', '?')}.{entry['collection']})"
        reader = Reader(entry, label, texts)
        database = _database(reader)
        collection = _collection(reader)
        own = general | _read_allow(reader.items("allow"), f"{label}: allow", problems)
        mode = reader.text("unmanaged", default=unmanaged, choices=UNMANAGED)
        seconds = reader.integer("soak", default=soak, low=0, high=10 * 365 * 24 * 3600)
        listed = reader.items("indexes")
        reader.finish()
        problems.take(texts)
        wanted = [_wanted(one, f"{database}.{collection}: indexes[{number_}]", own, problems) for number_, one in enumerate(listed)]
        described.append(Described(database, collection, tuple(one for one in wanted if one), mode, seconds, own))
    _judge_together(described, problems)
    problems.refuse()
    return tuple(described)


def parse_flat(raw: Sequence[object], *, unmanaged: str = "keep", soak: int = WEEK, allow: Sequence[str] = ()) -> tuple[Described, ...]:
    """Read the ``indexes`` option: as community.mongodb has it, each index with its own database and collection.

    :raises MongodbError: as :func:`parse_collections`.
    """
    by_collection: dict[tuple[str, str], dict[str, Any]] = {}
    problems = _Problems()
    for place, entry in enumerate(raw):
        label = f"indexes[{place}]"
        if not isinstance(entry, Mapping):
            problems.add("bad_index", f"{label}: must be a mapping, not {shown(entry)}")
            continue
        missing = [name for name in ("database", "collection") if not isinstance(entry.get(name), str)]
        if missing:
            problems.add("bad_index", f"{label}: {' and '.join(missing)} must be text")
            continue
        key = (entry["database"], entry["collection"])
        group = by_collection.setdefault(key, {"database": key[0], "collection": key[1], "indexes": []})
        group["indexes"].append({name: value for name, value in entry.items() if name not in ("database", "collection")})
    problems.refuse()
    return parse_collections(list(by_collection.values()), unmanaged=unmanaged, soak=soak, allow=allow)


def _database(reader: Reader) -> str:
    name = reader.text("database", required=True)
    if name and (any(char in name for char in '\0/\\. "$') or len(name.encode()) > 63):
        reader.complain("database", f"= {shown(name)} is not the name of a database")
    if name in ("config", "local"):
        reader.complain("database", f"= {shown(name)} belongs to the server")
    return name


def _collection(reader: Reader) -> str:
    name = reader.text("collection", required=True)
    if name and ("$" in name or "\0" in name or name.startswith((".", "system.")) or name.endswith(".")):
        reader.complain("collection", f"= {shown(name)} is not the name of a collection")
    return name


def _read_allow(raw: Sequence[object], label: str, problems: _Problems) -> frozenset[str]:
    for one in raw:
        if one not in ALLOW:
            problems.add("bad_index", f"{label}: {shown(one)} is not one of {', '.join(ALLOW)}{closest(str(one), ALLOW)}")
    return frozenset(str(one) for one in raw)


def _wanted(raw: object, label: str, allow: frozenset[str], problems: _Problems) -> Wanted | None:
    """Read one index; None when something is wrong with it."""
    before = len(problems.found)
    if not isinstance(raw, Mapping):
        problems.add("bad_index", f"{label}: must be a mapping, not {shown(raw)}")
        return None
    flat = _flat(raw, label, problems)
    if isinstance(flat.get("name"), str):
        label = f"{label} ({flat['name']})"
    texts: list[str] = []
    reader = Reader(flat, label, texts)
    present = reader.text("state", default="present", choices=("absent", "present")) == "present"
    own = allow | _read_allow(reader.items("allow"), f"{label}: allow", problems)
    keys = _keys(reader, present)
    given = _options(reader, keys)
    for name in IGNORED:
        reader.anything(name)
    reader.finish()
    name = given.get("name") or "_".join(f"{name}_{kind}" for name, kind in keys)
    _judge(reader, keys, name, given)
    problems.take(texts)
    if len(problems.found) > before:
        return None
    if not keys or (not present and "name" in given):
        return Wanted(Index(name, ()), present, keyed=False, allow=own)
    return Wanted(_index(name, keys, given), present, allow=own)


def _flat(raw: Mapping[Any, Any], label: str, problems: _Problems) -> dict[str, Any]:
    """Merge the mapping ``options`` into the index and give every option our name."""
    flat: dict[str, Any] = {}
    inner = raw.get("options")
    if inner is not None and not isinstance(inner, Mapping):
        problems.add("bad_index", f"{label}: options must be a mapping, not {shown(inner)}")
        inner = None
    for source in (raw, inner or {}):
        for key, value in source.items():
            name = ALIASES.get(str(key), str(key))
            if source is raw and name == "options":
                continue
            if name in flat:
                problems.add("bad_index", f"{label}: {name} is given twice")
            if source is not raw and name in ("keys", "state", "allow"):
                problems.add("bad_index", f"{label}: {name} belongs beside options, not into it")
            flat[name] = value
    return flat


def _keys(reader: Reader, present: bool) -> list[Key]:
    raw = reader.anything("keys")
    if raw is None:
        if present:
            reader.complain("keys", "is missing")
        elif not reader.has("name"):
            reader.complain("name", "is missing: an index to be removed is told by its name or its keys")
        return []
    if isinstance(raw, Mapping):
        if len(raw) > 1:
            listed = ", ".join(f"{{{name}: {value}}}" for name, value in raw.items())
            reader.complain("keys", f"is a mapping with {len(raw)} fields, and mappings have no order: write [{listed}]")
        raw = [dict(raw)]
    if not isinstance(raw, (list, tuple)) or not raw:
        reader.complain("keys", f"must be a list of fields such as [{{user_id: 1}}, {{created_at: -1}}], not {shown(raw)}")
        return []
    keys: list[Key] = []
    for place, entry in enumerate(raw):
        if not isinstance(entry, Mapping) or len(entry) != 1:
            reader.complain(f"keys[{place}]", f"must be a mapping of one field, not {shown(entry)}")
            continue
        ((name, kind),) = entry.items()
        value = number(kind)
        parts = str(name).split(".")
        if not isinstance(name, str) or not all(parts) or any(part.startswith("$") and part != "$**" for part in parts):
            reader.complain(f"keys[{place}]", f"= {shown(name)} is not the name of a field")
        elif isinstance(value, bool) or (value not in (1, -1) and value not in KINDS):
            wording = closest(value, KINDS) if isinstance(value, str) else ""
            reader.complain(f"keys[{place}].{name}", f"= {shown(kind)} is none of 1, -1, {', '.join(KINDS)}{wording}")
        elif name in dict(keys):
            reader.complain(f"keys[{place}]", f"= {shown(name)} is listed twice")
        else:
            keys.append((name, value))
    return keys


def _options(reader: Reader, keys: Sequence[Key]) -> dict[str, Any]:
    """Read the options that are given, under the server's names."""
    given: dict[str, Any] = {}
    for name in ("unique", "sparse", "hidden"):
        if reader.boolean(name, default=False):
            given[name] = True
    for name in ("name", "default_language", "language_override"):
        value = reader.optional_text(name)
        if value is not None:
            given[name] = value
    for name, low, high in (
        ("expire_after_seconds", 0, LONGEST_TTL),
        ("text_index_version", 1, 3),
        ("sphere_index_version", 1, 3),
        ("bits", 1, 32),
    ):
        if reader.has(name):
            value = number(reader.anything(name))
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                reader.complain(name, f"= {shown(value)} is not a whole number in {low}..{high}")
            else:
                given[OPTIONS[name]] = value
    for name in ("min", "max"):
        if reader.has(name):
            given[name] = reader.number(name, default=0, low=-1e9, high=1e9)
    for name in ("weights", "storage_engine", "wildcard_projection", "collation", "partial_filter_expression"):
        if reader.has(name):
            given[OPTIONS[name]] = reader.mapping(name)
    _judge_collation(reader, given.get("collation"))
    if "partialFilterExpression" in given:
        _judge_filter(reader, given["partialFilterExpression"], "partial_filter_expression")
    if any(kind == "text" for _name, kind in keys):
        given["weights"] = {name: 1 for name, kind in keys if kind == "text"} | _weights(reader, keys, given.get("weights", {}))
    return given


def _weights(reader: Reader, keys: Sequence[Key], weights: Mapping[str, Any]) -> dict[str, int]:
    fields = {name for name, kind in keys if kind == "text"}
    for name, weight in weights.items():
        if name not in fields and "$**" not in fields:
            reader.complain(f"weights.{name}", f"is not a text field of keys{closest(name, fields)}")
        if isinstance(weight, bool) or not isinstance(number(weight), int) or not 0 < weight < 100000:
            reader.complain(f"weights.{name}", f"= {shown(weight)} is not a whole number in 1..99999")
    return {name: number(weight) for name, weight in weights.items()}


def _judge_collation(reader: Reader, collation: Mapping[str, Any] | None) -> None:
    if collation is None:
        return
    if not isinstance(collation.get("locale"), str) or not collation["locale"]:
        reader.complain("collation.locale", "is missing")
    for name, value in collation.items():
        default = COLLATION_DEFAULTS.get(name)
        if name == "locale":
            continue
        if name not in COLLATION_DEFAULTS:
            reader.complain(f"collation.{name}", f"is not a known field here{closest(name, ('locale', *COLLATION_DEFAULTS))}")
        elif isinstance(default, bool) and not isinstance(value, bool):
            reader.complain(f"collation.{name}", f"must be true or false, not {shown(value)}")
        elif name in COLLATION_CHOICES and (isinstance(value, bool) or value not in COLLATION_CHOICES[name]):
            reader.complain(f"collation.{name}", f"= {shown(value)} is not one of {', '.join(map(str, COLLATION_CHOICES[name]))}")


def _judge_filter(reader: Reader, expression: Mapping[str, Any], label: str) -> None:
    for name, value in expression.items():
        if name in ("$and", "$or"):
            if not isinstance(value, (list, tuple)) or not value or not all(isinstance(part, Mapping) for part in value):
                reader.complain(f"{label}.{name}", f"must be a list of mappings, not {shown(value)}")
                continue
            for part in value:
                _judge_filter(reader, part, f"{label}.{name}")
        elif str(name).startswith("$"):
            reader.complain(f"{label}.{name}", f"cannot stand here{closest(str(name), ('$and', '$or'))}")
        elif _is_operators(value):
            for operator, operand in value.items():
                if operator not in FILTER_OPERATORS:
                    known = closest(operator, FILTER_OPERATORS)
                    reader.complain(f"{label}.{name}.{operator}", f"is not an operator of partial filters{known}")
                elif operator == "$exists" and not operand:
                    reader.complain(f"{label}.{name}.$exists", "can only be true in a partial filter")


def _judge(reader: Reader, keys: Sequence[Key], name: str, given: Mapping[str, Any]) -> None:
    """Say what does not go together."""
    if "\0" in name or name == "*" or name.startswith(COVER):
        reader.complain("name", f"= {shown(name)} cannot name an index; {COVER}… is kept for this module")
    if name == "_id_" or (len(keys) == 1 and keys[0][0] == "_id" and keys[0][1] in (1, -1)):
        hidden = " hidden," if given.get("hidden") else ""
        reader.complain("keys", f"is _id alone: the server makes that index, and it cannot be{hidden} changed or removed. Leave it out")
        return
    if not keys:
        return
    kinds = {kind for _field, kind in keys}
    wildcard = "text" not in kinds and any(field_.split(".")[-1] == "$**" for field_, _kind in keys)
    rules: list[tuple[bool, str, str]] = [
        (len(keys) > MOST_FIELDS, "keys", f"has {len(keys)} fields; the server takes {MOST_FIELDS}"),
        (sum(kind == "hashed" for _field, kind in keys) > 1, "keys", "has more than one hashed field"),
        (wildcard and len(keys) > 1, "keys", "mixes $** with other fields, which the server takes from version 7.0 on only"),
        ("hashed" in kinds and "unique" in given, "unique", "cannot be had by a hashed index"),
        (wildcard and "unique" in given, "unique", "cannot be had by a wildcard index"),
        ("sparse" in given and "partialFilterExpression" in given, "sparse", "and partial_filter_expression exclude each other"),
        ("weights" in given and "text" not in kinds, "weights", "belongs to text indexes; no field of keys is text"),
        ("default_language" in given and "text" not in kinds, "default_language", "belongs to text indexes"),
        ("language_override" in given and "text" not in kinds, "language_override", "belongs to text indexes"),
        ("textIndexVersion" in given and "text" not in kinds, "text_index_version", "belongs to text indexes"),
        ("2dsphereIndexVersion" in given and "2dsphere" not in kinds, "sphere_index_version", "belongs to 2dsphere indexes"),
        (bool({"bits", "min", "max"} & set(given)) and "2d" not in kinds, "bits, min, max", "belong to 2d indexes"),
        (
            bool(kinds & {"text", "2d"}) and given.get("collation", {}).get("locale", "simple") != "simple",
            "collation",
            "cannot be had by text and 2d indexes",
        ),
        ("wildcardProjection" in given and keys[0][0] != "$**", "wildcard_projection", "needs the one key $**"),
        ("wildcardProjection" in given and not given["wildcardProjection"], "wildcard_projection", "is empty"),
    ]
    if "expireAfterSeconds" in given:
        reason = "the server expires by a single field of dates"
        rules += [
            (len(keys) > 1, "expire_after_seconds", f"on a compound index: {reason}"),
            (bool(kinds & set(KINDS)) or wildcard, "expire_after_seconds", f"on a {keys[0][1]} index of {keys[0][0]}: {reason}"),
        ]
    for wrong, field_, complaint in rules:
        if wrong:
            reader.complain(field_, complaint)


def _index(name: str, keys: Sequence[Key], given: Mapping[str, Any]) -> Index:
    stored = _stored_keys(keys)
    document = {"key": dict(keys), "name": name, **{key: value for key, value in given.items() if key != "name"}}
    if {"text", "2d"} & {kind for _field, kind in keys}:
        # These have no collation, and in a collection with one of its own the server wants that to be said.
        document["collation"] = {"locale": "simple"}
    return Index(
        name=name,
        keys=stored,
        unique="unique" in given,
        sparse="sparse" in given,
        hidden="hidden" in given,
        ttl=given.get("expireAfterSeconds"),
        filter=filter_form(given.get("partialFilterExpression")),
        collation=collation_form(given.get("collation")),
        options=_options_form(stored, given),
        document=document,
        inherits="collation" not in document,
    )


def _judge_together(described: Sequence[Described], problems: _Problems) -> None:
    """Say what is listed twice."""
    seen: set[Namespace] = set()
    for one in described:
        if one.namespace in seen:
            problems.add("duplicate_index", f"collections: {one.label} is listed more than once")
        seen.add(one.namespace)
        names: set[str] = set()
        alike: dict[tuple[object, ...], str] = {}
        for wanted in one.wanted:
            index = wanted.index
            if index.name in names:
                problems.add("duplicate_index", f"{one.label}: two indexes have the name {index.name}")
            names.add(index.name)
            if not wanted.present:
                continue
            form = (index.keys, dict(index.options).get("weights"), index.collation, index.filter)
            if form in alike:
                problems.add(
                    "duplicate_index", f"{one.label}: keys of {alike[form]} and {index.name} are the same, with one collation and filter"
                )
            alike[form] = index.name
        present = [wanted.index for wanted in one.wanted if wanted.present]
        if sum(index.text for index in present) > 1:
            problems.add("bad_index", f"{one.label}: indexes has more than one text index; a collection can have one")
        if len(present) >= MOST_INDEXES:
            problems.add("bad_index", f"{one.label}: indexes has {len(present)}; a collection holds {MOST_INDEXES}, _id_ among them")
