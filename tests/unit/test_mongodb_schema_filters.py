"""One description of databases, and what each module gets of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter.mongodb_collections_problem import mongodb_collections_problem
from ansible_collections.linda.ops.plugins.filter.mongodb_schema import mongodb_schema

PHONE = {"name": "by_phone", "keys": {"phone": 1}, "unique": True}
DATABASES: list[dict[str, Any]] = [
    {
        "name": "linda",
        "collections": [
            {"name": "users", "validator": {"a": 1}, "allow": ["invalid_documents"], "indexes": [PHONE], "unmanaged_indexes": "hide"},
            {"name": "messages", "indexes": [], "sharding": {"keys": {"user_id": "hashed"}}, "allow_indexes": ["rebuild"]},
        ],
    },
    {"name": "other", "collections": [{"name": "log", "capped": {"size": 1}}]},
    {"name": "empty"},
]


def test_each_module_gets_its_part_of_all_collections() -> None:
    assert mongodb_schema(DATABASES, "collections") == [
        {"database": "linda", "collection": "users", "validator": {"a": 1}, "allow": ["invalid_documents"]},
        {"database": "linda", "collection": "messages"},
        {"database": "other", "collection": "log", "capped": {"size": 1}},
    ]
    # Nobody looks at the indexes of a collection that says nothing about them; an empty list is a description.
    assert mongodb_schema(DATABASES, "indexes") == [
        {"database": "linda", "collection": "users", "indexes": [PHONE], "unmanaged": "hide"},
        {"database": "linda", "collection": "messages", "indexes": [], "allow": ["rebuild"]},
    ]
    assert mongodb_schema(DATABASES, "sharding") == [{"database": "linda", "collection": "messages", "keys": {"user_id": "hashed"}}]


def test_a_check_has_every_index_that_is_to_be_there() -> None:
    indexes: list[dict[str, Any]] = [PHONE, {"keys": [{"a": 1}, {"b": -1}]}, {"name": "old", "state": "absent"}, {"keys": {"text": "text"}}]
    databases = [{"name": "linda", "collections": [{"name": "users", "indexes": indexes}]}]
    assert mongodb_schema(databases, "index_checks") == [
        {"collection": "linda.users", "name": "by_phone", "keys": [{"phone": 1}]},
        {"collection": "linda.users", "name": "a_1_b_-1", "keys": [{"a": 1}, {"b": -1}]},
        {"collection": "linda.users", "name": "text_text", "keys": [{"_fts": "text"}, {"_ftsx": 1}]},
    ]
    # What is wrong with a description is said by the check of the inputs, not by a descriptor.
    assert mongodb_schema([{"name": "linda", "collections": [{"name": "users", "indexes": [{"key": 1}]}]}], "index_checks") == []


def test_another_part_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="part 'views' is not one of collections"):
        mongodb_schema(DATABASES, "views")


def test_a_problem_is_a_sentence_and_none_is_empty() -> None:
    assert mongodb_collections_problem(mongodb_schema(DATABASES, "collections")) == ""
    assert "'a$b'" in mongodb_collections_problem([{"database": "shop", "collection": "a$b"}])
