"""The desired tree that the parameters of config_tree describe."""

from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import build_tree

PARAMETERS = {
    "dest": "/etc/linda",
    "links": [],
    "exclusive": ["keys/operators"],
    "directories": [],
    "modes": [],
    "owner": "root",
    "group": "root",
    "sensitive": [],
}


def test_an_exclusive_directory_without_files_brings_its_parents() -> None:
    tree = build_tree(PARAMETERS, {})
    assert [entry.path for entry in tree.directories] == [".", "keys", "keys/operators"]
