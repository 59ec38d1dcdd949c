# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import parse_collections

DOCUMENTATION = r"""
name: mongodb_schema
short_description: Hand a description of databases to the module that keeps one part of it
version_added: 0.2.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - A person describes a collection in one place - its validator, its indexes, how it is spread over shards. The modules each take a part of
    that for all collections. This filter makes one from the other.
options:
  _input:
    description: The databases, each with C(name) and C(collections), as role C(schema) takes them.
    type: list
    elements: dict
    required: true
  part:
    description:
      - V(collections) for M(linda.ops.mongodb_collections), V(indexes) for M(linda.ops.mongodb_indexes), V(sharding) for
        M(linda.ops.mongodb_sharding), V(index_checks) for a check of type C(mongodb_indexes), one entry an index.
      - A collection without the part in question is left out; for V(indexes) that is one without the key, not one with an empty list.
    type: str
    required: true
    choices: [collections, indexes, sharding, index_checks]
seealso:
  - module: linda.ops.mongodb_collections
"""

EXAMPLES = r"""
- name: Show the indexes of all collections
  ansible.builtin.debug:
    msg: "{{ schema_databases | linda.ops.mongodb_schema('indexes') }}"
"""

RETURN = r"""
_value:
  description: One entry a collection, with C(database), C(collection) and the part.
  type: list
  elements: dict
  sample:
    - {database: linda, collection: users, indexes: [{keys: {phone: 1}, unique: true}]}
"""

# What a collection says about other parts than itself: the keys of the other modules' entries.
INDEX_KEYS: Mapping[str, str] = {"indexes": "indexes", "unmanaged_indexes": "unmanaged", "allow_indexes": "allow"}
ELSEWHERE = frozenset({*INDEX_KEYS, "sharding"})


def mongodb_schema(databases: Sequence[Mapping[str, Any]], part: str) -> list[dict[str, Any]]:
    """Return the entries; see RETURN."""
    if part not in ("collections", "indexes", "sharding", "index_checks"):
        raise AnsibleFilterError(f"mongodb_schema: part {part!r} is not one of collections, indexes, sharding, index_checks")
    if part == "index_checks":
        return index_checks(mongodb_schema(databases, "indexes"))
    found: list[dict[str, Any]] = []
    for database in databases:
        for collection in database.get("collections") or []:
            entry = {"database": database.get("name"), "collection": collection.get("name")}
            if part == "collections":
                found.append(entry | {key: value for key, value in collection.items() if key != "name" and key not in ELSEWHERE})
            elif part == "indexes" and collection.get("indexes") is not None:
                found.append(entry | {name: collection[key] for key, name in INDEX_KEYS.items() if collection.get(key) is not None})
            elif part == "sharding" and collection.get("sharding"):
                found.append(entry | dict(collection["sharding"]))
    return found


def index_checks(collections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return collection, name and keys of every index that is to be there; nothing for a description that is refused elsewhere."""
    try:
        described = parse_collections(collections)
    except MongodbError:
        return []
    return [
        {"collection": one.label, "name": wanted.index.name, "keys": [{name: kind} for name, kind in wanted.index.keys]}
        for one in described
        for wanted in one.wanted
        if wanted.present
    ]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_schema": mongodb_schema}
