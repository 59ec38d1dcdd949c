# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read and judge a description of MongoDB collections. Pure: nothing is asked of a server.

What the server would refuse is refused here as far as it can be known without it, because a description holds many collections and
the server would refuse the third one after the first two are made. Sources: the server's manual, pages ``create``, "Schema
Validation", "$jsonSchema", "Time Series Collections", "Clustered Collections" and "Naming Restrictions", and server 6.0.5 itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

Namespace = tuple[str, str]  # (database, collection)

ALLOW = ("invalid_documents", "lower_expiry", "shrink_capped")
LEVELS = ("off", "moderate", "strict")
ACTIONS = ("error", "warn")
# From fine to coarse: the only direction in which the server changes it.
GRANULARITIES = ("seconds", "minutes", "hours")
NO_EXPIRY = -1
# The server keeps the size of a capped collection as a multiple of this many bytes.
CAPPED_STEP = 256
UNLIMITED = 2**31 - 1
MAX_EXPIRY = 2**31 - 1
MAX_NAMESPACE_BYTES = 255
MAX_DATABASE_BYTES = 63
SYSTEM_DATABASES = frozenset({"admin", "config", "local"})

BSON_TYPES = frozenset(
    {"double", "string", "object", "array", "binData", "undefined", "objectId", "bool", "date", "null", "regex", "dbPointer"}
    | {"javascript", "symbol", "javascriptWithScope", "int", "timestamp", "long", "decimal", "minKey", "maxKey", "number"}
)
JSON_TYPES = frozenset({"object", "array", "number", "boolean", "string", "null"})
# Keyword of $jsonSchema -> what its value is: a schema, several, a mapping of them, or something else.
KEYWORDS = {
    "additionalItems": "schema_or_bool",
    "additionalProperties": "schema_or_bool",
    "allOf": "schemas",
    "anyOf": "schemas",
    "bsonType": "bson_type",
    "dependencies": "any",
    "description": "text",
    "encrypt": "any",
    "encryptMetadata": "any",
    "enum": "list",
    "exclusiveMaximum": "bool",
    "exclusiveMinimum": "bool",
    "items": "schema_or_schemas",
    "maxItems": "count",
    "maxLength": "count",
    "maxProperties": "count",
    "maximum": "number",
    "minItems": "count",
    "minLength": "count",
    "minProperties": "count",
    "minimum": "number",
    "multipleOf": "number",
    "not": "schema",
    "oneOf": "schemas",
    "pattern": "text",
    "patternProperties": "named_schemas",
    "properties": "named_schemas",
    "required": "names",
    "title": "text",
    "type": "json_type",
    "uniqueItems": "bool",
}
QUERY_OPERATORS = frozenset({"$jsonSchema", "$and", "$or", "$nor", "$expr", "$comment"})
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


@dataclass(frozen=True)
class Capped:
    """The bounds of a capped collection: ``size`` in bytes as the server keeps it, ``max`` in documents, None without a bound."""

    size: int
    max: int | None = None


@dataclass(frozen=True)
class TimeSeries:
    """What makes a time series collection."""

    time_field: str
    meta_field: str | None = None
    granularity: str = "seconds"


@dataclass(frozen=True)
class Collection:
    """One described collection.

    ``validator``, ``expire_after`` and ``images`` None: left as they are; an empty validator: none; ``NO_EXPIRY``: never. ``level``
    and ``action`` count with a validator only. What the collection is (``capped``, ``timeseries``, ``clustered``, ``collation``) is
    part of the description also where it is not mentioned: an ordinary collection.
    """

    database: str
    name: str
    validator: Mapping[str, Any] | None = None
    level: str = "strict"
    action: str = "error"
    capped: Capped | None = None
    timeseries: TimeSeries | None = None
    clustered: bool = False
    clustered_name: str | None = None
    expire_after: int | None = None
    collation: Mapping[str, Any] | None = None
    images: bool | None = None
    allow: frozenset[str] = frozenset()

    @property
    def key(self) -> Namespace:
        """Return what identifies the collection."""
        return (self.database, self.name)

    @property
    def label(self) -> str:
        """Return the collection as the server writes it: database.collection."""
        return f"{self.database}.{self.name}"

    @property
    def kind(self) -> str:
        """Return collection, capped, clustered or timeseries."""
        if self.timeseries:
            return "timeseries"
        return "capped" if self.capped else "clustered" if self.clustered else "collection"


def parse_collections(raw: Sequence[Mapping[str, Any]], allow: Sequence[str] = ()) -> tuple[Collection, ...]:
    """Read and check the ``collections`` option; ``allow`` holds for all of them.

    :raises MongodbError: ``bad_database``, ``bad_collection``, ``bad_option``, ``bad_validator`` or ``duplicate_collection``.
    """
    _check_allow("allow", allow)
    found = tuple(_parse(entry, frozenset(allow)) for entry in raw)
    keys = [collection.key for collection in found]
    twice = sorted({collection.label for collection in found if keys.count(collection.key) > 1})
    if twice:
        raise MongodbError("duplicate_collection", f"{', '.join(twice)} is listed more than once.")
    # On disk the server keeps databases in files, some of which know no case: it refuses names that differ in nothing else.
    folded = {collection.database.lower(): collection.database for collection in found}
    for collection in found:
        other = folded[collection.database.lower()]
        if other != collection.database:
            raise MongodbError("bad_database", f"Databases {other!r} and {collection.database!r} differ in case only; write one of them.")
    return found


def _parse(entry: Mapping[str, Any], allow: frozenset[str]) -> Collection:
    database, name = str(entry.get("database") or ""), str(entry.get("collection") or "")
    check_namespace(database, name)
    label = f"{database}.{name}"
    own = entry.get("allow") or []
    _check_allow(f"{label}: allow", own)
    validator = entry.get("validator")
    level, action = entry.get("validation_level"), entry.get("validation_action")
    # YAML reads a bare `off` as false.
    level = "off" if level is False else level
    if validator is None and (level or action):
        raise _bad(label, "validation_level" if level else "validation_action", "is given without validator", "Add the validator it is for")
    if level is not None and level not in LEVELS:
        raise _bad(label, f"validation_level = {level!r}", "is not one of off, moderate, strict", "Correct it")
    if action is not None and action not in ACTIONS:
        raise _bad(label, f"validation_action = {action!r}", "is not one of error, warn", "Correct it")
    if validator is not None:
        for problem in validator_problems(validator):
            raise MongodbError("bad_validator", f"{label}: {problem}")
    collection = Collection(
        database=database,
        name=name,
        validator=validator,
        level=level or "strict",
        action=action or "error",
        capped=_capped(label, entry.get("capped")),
        timeseries=_timeseries(label, entry.get("timeseries")),
        clustered=entry.get("clustered") is not None,
        clustered_name=(entry.get("clustered") or {}).get("name"),
        expire_after=_expiry(label, entry.get("expire_after_seconds")),
        collation=expand_collation(label, entry.get("collation")),
        images=entry.get("pre_and_post_images"),
        allow=allow | frozenset(own),
    )
    _check_together(collection)
    return collection


def _bad(label: str, what: str, problem: str, remedy: str) -> MongodbError:
    return MongodbError("bad_option", f"{label}: {what} {problem}. {remedy}.")


def _check_allow(label: str, names: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(ALLOW))
    if unknown:
        raise MongodbError("bad_option", f"{label} = {', '.join(unknown)} is not among {', '.join(ALLOW)}.")


def check_namespace(database: str, name: str) -> None:
    """Check the names of a database and a collection.

    :raises MongodbError: ``bad_database`` or ``bad_collection``.
    """
    if not database or any(character in database for character in '/\\. "$*<>:|?\0'):
        raise MongodbError("bad_database", f'Database {database!r} (collection {name!r}): the name is empty or holds one of /\\. "$*<>:|?')
    if len(database.encode()) > MAX_DATABASE_BYTES:
        raise MongodbError("bad_database", f"Database {database!r}: the name is longer than {MAX_DATABASE_BYTES} bytes.")
    if database in SYSTEM_DATABASES:
        raise MongodbError("bad_database", f"Database {database!r} (collection {name!r}) is the server's own; use another.")
    if not name or "$" in name or "\0" in name or name.startswith(("system.", ".")) or name.endswith("."):
        raise MongodbError(
            "bad_collection",
            f"{database}: collection {name!r}: the name is empty, holds $, begins or ends with a dot, or is a system one.",
        )
    if len(f"{database}.{name}".encode()) > MAX_NAMESPACE_BYTES:
        raise MongodbError("bad_collection", f"{database}.{name}: the full name is longer than {MAX_NAMESPACE_BYTES} bytes.")


def _capped(label: str, raw: Mapping[str, Any] | None) -> Capped | None:
    if raw is None:
        return None
    size, most = raw.get("size"), raw.get("max")
    if not isinstance(size, int) or size < 1:
        raise _bad(label, f"capped.size = {size}", "is not a number of bytes above 0", "Say how much the collection may hold")
    if most is not None and not (isinstance(most, int) and 1 <= most < UNLIMITED):
        raise _bad(label, f"capped.max = {most}", "is not a number of documents above 0", "Leave it out for no bound")
    return Capped(-(-size // CAPPED_STEP) * CAPPED_STEP, most)


def _timeseries(label: str, raw: Mapping[str, Any] | None) -> TimeSeries | None:
    if raw is None:
        return None
    time, meta, granularity = raw.get("time_field"), raw.get("meta_field"), raw.get("granularity") or "seconds"
    for option, value in (("time_field", time), ("meta_field", meta)):
        if value is None and option == "meta_field":
            continue
        if not isinstance(value, str) or not value or value == "_id" or "." in value or value.startswith("$"):
            raise _bad(label, f"timeseries.{option} = {value!r}", "is not the name of a top-level field other than _id", "Correct it")
    if time == meta:
        raise _bad(label, f"timeseries.meta_field = {meta!r}", "is the time_field too", "Name another field, or leave it out")
    if granularity not in GRANULARITIES:
        raise _bad(label, f"timeseries.granularity = {granularity!r}", f"is not one of {', '.join(GRANULARITIES)}", "Correct it")
    return TimeSeries(str(time), meta, granularity)


def _expiry(label: str, value: int | None) -> int | None:
    if value is not None and not (isinstance(value, int) and NO_EXPIRY <= value <= MAX_EXPIRY):
        raise _bad(label, f"expire_after_seconds = {value}", f"is not {NO_EXPIRY} (never) to {MAX_EXPIRY}", "Correct it")
    return value


def expand_collation(label: str, raw: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return a collation with everything the server adds to it, None for binary comparison.

    :raises MongodbError: ``bad_option``.
    """
    if raw is None:
        return None
    locale = raw.get("locale")
    unknown = sorted(set(raw) - set(COLLATION_DEFAULTS) - {"locale"})
    if not isinstance(locale, str) or not locale:
        raise _bad(label, "collation", "has no locale", "Add it, for instance locale: en")
    if unknown:
        known = ", ".join(["locale", *COLLATION_DEFAULTS])
        raise _bad(label, f"collation.{unknown[0]}", "is not known", f"There are {known}")
    if locale == "simple":
        return None
    # The one locale whose rules differ from the defaults in what the server stores.
    defaults = {**COLLATION_DEFAULTS, "backwards": locale == "fr_CA"}
    return {"locale": locale, **defaults, **{key: value for key, value in raw.items() if value is not None}}


def _check_together(collection: Collection) -> None:
    """Refuse options that exclude each other."""
    label = collection.label
    kinds = [name for name in ("capped", "timeseries", "clustered") if getattr(collection, name)]
    if len(kinds) > 1:
        raise _bad(label, " and ".join(kinds), "exclude each other", "Choose one")
    if collection.expire_after is not None and not (collection.timeseries or collection.clustered):
        remedy = "In any other collection documents expire by a TTL index (linda.ops.mongodb_indexes, expire_after_seconds)"
        raise _bad(label, "expire_after_seconds", "is for clustered and time series collections", remedy)
    if collection.timeseries and collection.validator is not None:
        raise _bad(label, "validator", "is given for a time series collection, which can have none", "Take it away")
    if collection.timeseries and collection.images:
        raise _bad(label, "pre_and_post_images", "is given for a time series collection, which has no change streams", "Take it away")


def validator_problems(validator: object) -> Iterator[str]:
    """Tell what the server would not take in a validator, each with the path to it."""
    if not isinstance(validator, Mapping):
        yield f"validator = {validator!r} is not a mapping (a query, such as $jsonSchema)."
        return
    for key, value in validator.items():
        if not isinstance(key, str) or (key.startswith("$") and key not in QUERY_OPERATORS):
            yield f"validator.{key} is not an operator a validator can have ({', '.join(sorted(QUERY_OPERATORS))})."
        elif key == "$jsonSchema":
            yield from _schema_problems(value, "validator.$jsonSchema")


def _schema_problems(schema: object, path: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        yield f"{path} = {schema!r} is not a schema (a mapping)."
        return
    for key, value in schema.items():
        if key not in KEYWORDS:
            yield f"{path}.{key} is not a keyword of the server's $jsonSchema."
        else:
            yield from _keyword_problems(KEYWORDS[key], value, f"{path}.{key}")
    if "type" in schema and "bsonType" in schema:
        yield f"{path} has both type and bsonType; the server takes one of them."
    for bound in ("maximum", "minimum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in schema and bound not in schema:
            yield f"{path}.{exclusive} is given without {bound}."
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        properties = schema.get("properties") or {}
        needed = [*(["_id"] if path == "validator.$jsonSchema" else []), *(schema.get("required") or [])]
        missing = [str(name) for name in needed if name not in properties]
        if missing:
            yield f"{path}.additionalProperties = false without {', '.join(missing)} among properties: no document could pass."


def _keyword_problems(kind: str, value: object, path: str) -> Iterator[str]:
    schemas = value if isinstance(value, list) else []
    alternative = {"schema_or_bool": bool, "schema_or_schemas": list}.get(kind)
    if kind == "schema" or (alternative is not None and not isinstance(value, alternative)):
        yield from _schema_problems(value, path)
    elif kind in ("schemas", "schema_or_schemas"):
        if not schemas and kind == "schemas":
            yield f"{path} = {value!r} is not a list of schemas."
        for place, schema in enumerate(schemas):
            yield from _schema_problems(schema, f"{path}[{place}]")
    elif kind == "named_schemas":
        if not isinstance(value, Mapping):
            yield f"{path} = {value!r} is not a mapping of field names to schemas."
        else:
            for name, schema in value.items():
                yield from _schema_problems(schema, f"{path}.{name}")
    else:
        problem = _value_problem(kind, value)
        if problem:
            yield f"{path} = {value!r} {problem}."


def _value_problem(kind: str, value: object) -> str:
    """Return what is wrong with the value of a keyword that holds no schema; empty when nothing is."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "bool" and not isinstance(value, bool):
        return "is not true or false"
    if kind == "text" and not isinstance(value, str):
        return "is not text"
    if kind == "number" and not number:
        return "is not a number"
    if kind == "count" and not (number and isinstance(value, int) and value >= 0):
        return "is not a whole number from 0 up"
    if kind == "list" and not (isinstance(value, list) and value):
        return "is not a list with at least one value"
    if kind == "names":
        names = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
        if not names or len(set(value)) != len(value):  # type: ignore[arg-type, call-overload]
            return "is not a list of field names, each once and at least one"
    if kind in ("bson_type", "json_type"):
        known = BSON_TYPES if kind == "bson_type" else JSON_TYPES
        types = value if isinstance(value, list) and value else [value]
        unknown = [one for one in types if not isinstance(one, str) or one not in known]
        if unknown:
            return f"names no type that the server knows ({', '.join(sorted(known))})"
    return ""


def canonical(value: object) -> object:
    """Return a value in a form in which equal means equal for the server.

    The order of a mapping does not count (YAML and Jinja do not keep it for certain), 1 and 1.0 are the same number, 1 and true are not.
    """
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, Mapping):
        return ("mapping", frozenset((str(key), canonical(one)) for key, one in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(canonical(one) for one in value))
    return value if isinstance(value, int | float | str) or value is None else (type(value).__name__, str(value))


def plain(value: object) -> Any:
    """Return a value of the server's as data that JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
