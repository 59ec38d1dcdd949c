# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The candidate tree in a directory of its own, and the daemon's checker at work on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ansible_collections.linda.ops.plugins.module_utils import _config_tree_disk as disk
from ansible_collections.linda.ops.plugins.module_utils._config_tree_apply import find_program, run_command
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError, Desired, full_path


def place_for(root: str, state_directory: str, name: str) -> str:
    """Return where the candidate is staged: on the file system of ``root``, in the state directory if that is there, else beside it."""
    inside_state = os.path.join(state_directory, name, "stage")
    hidden = f".{os.path.basename(root)}.config_tree-{name}"
    beside = os.path.join(os.path.dirname(root), hidden)
    candidates = [inside_state, *([beside] if os.path.dirname(root) != "/" else [])]
    return next((place for place in candidates if disk.same_device(place, root)), os.path.join(root, hidden))


def stage(directory: str, desired: Desired, contents: Mapping[str, bytes]) -> None:
    """Write the whole candidate into a fresh private directory: files, links inside dest, directories, with modes and owners.

    Directories get their final mode last, so that a read-only one can be filled.
    """
    disk.remove(directory)
    disk.private_directory(directory)
    os.mkdir(os.path.join(directory, "tree"), 0o755)
    nodes = {**desired.implied, **desired.nodes}
    directories = sorted(path for path, node in nodes.items() if node.kind == "directory" and path != ".")
    for path in directories:
        os.mkdir(staged_path(directory, path), 0o700)
    for path, node in sorted(nodes.items()):
        if node.kind == "file":
            disk.write_file(staged_path(directory, path), contents[path], node)
        elif node.kind == "link" and not path.startswith("/"):
            os.symlink(node.target, staged_path(directory, path))
    for path in reversed(directories):
        disk.own(staged_path(directory, path), nodes[path])


def staged_path(directory: str, path: str) -> str:
    """Return where a relative key is staged."""
    return full_path(path, os.path.join(directory, "tree"))


def missing_checkers(checks: Sequence[Sequence[str]]) -> list[str]:
    """Return the programs of the checks that are not installed."""
    return sorted({argv[0] for argv in checks if find_program(argv[0]) is None})


def validate(checks: Sequence[Sequence[str]], tree: str, shown_as: str) -> None:
    """Run the daemon's own checks on the tree that stands at ``tree``.

    :raises ConfigTreeError: in the checker's words, with paths as they will be, below ``shown_as``.
    """
    for argv in checks:
        try:
            run_command([word.replace("{staged}", tree) for word in argv])
        except ConfigTreeError as error:
            raise ConfigTreeError(str(error).replace(tree, shown_as)) from error
