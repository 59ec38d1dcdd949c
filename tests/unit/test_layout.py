"""The checkout is a collection."""

from ansible_collections.linda.ops.plugins import module_utils


def test_collection_resolves() -> None:
    assert "ansible_collections.linda.ops" in module_utils.__name__
