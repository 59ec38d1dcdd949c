# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a transaction changes, for people: Ansible's list of differences, without the content of sensitive files."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import Node, Owned, Step, full_path, matches

SIZE_LIMIT = 1 << 19
"""Bytes of a file up to which its difference is shown."""

Difference = dict[str, str]

_WORD_LENGTH = 6
_WORD = re.compile(r"""[^\s"'=:;,(){}\[\]<>]+""")


def hide_words(text: str, secret: Iterable[bytes], public: Iterable[bytes]) -> str:
    """Return a message without any word (of 6 letters or more) that occurs in secret contents only; checkers quote what they reject."""
    known = b"\n".join(public).decode("utf-8", "replace")
    words: set[str] = set()
    for content in secret:
        for line in content.decode("utf-8", "replace").splitlines():
            words.update(word for word in [line.strip(), *_WORD.findall(line)] if len(word) >= _WORD_LENGTH and word not in known)
    for word in sorted(words, key=lambda found: (-len(found), found)):
        text = text.replace(word, "********")
    return text


def is_sensitive(path: str, patterns: Sequence[str], owned: Mapping[str, Owned], dest: str) -> bool:
    """Tell whether a path is, or was when it was last applied, one whose content must not be shown."""
    return any(matches(pattern, path, dest) for pattern in patterns) or (path in owned and owned[path].sensitive)


def net_changes(steps: Sequence[Step]) -> dict[str, tuple[Node | None, Node | None]]:
    """Return what stands at each changed path before and after all steps, sorted by path."""
    net: dict[str, tuple[Node | None, Node | None]] = {}
    for step in steps:
        before = net[step.path][0] if step.path in net else step.before
        net[step.path] = (before, step.after)
    return dict(sorted(net.items()))


def differences(
    changes: Mapping[str, tuple[Node | None, Node | None]],
    old: Mapping[str, bytes],
    new: Mapping[str, bytes],
    hidden: Mapping[str, str],
    dest: str,
) -> list[Difference]:
    """Return one entry per changed path, and a further one where mode or owners change too.

    ``old`` and ``new`` hold the contents of files, ``hidden`` the reason for which a path's content is not shown.
    """
    found: list[Difference] = []
    for path, (before, after) in changes.items():
        shown = full_path(path, dest)
        reason = hidden.get(path)
        if reason is not None and _content_changes(before, after):
            found.append({"prepared": f"{shown}: {_verb(before, after)} ({reason})\n"})
        elif _content_changes(before, after):
            found.append(_content_difference(shown, before, after, old.get(path), new.get(path)))
        if before and after and before.kind == after.kind != "link" and _attributes(before) != _attributes(after):
            header = f"{shown} (attributes)"
            found.append({"before_header": header, "after_header": header, "before": _attributes(before), "after": _attributes(after)})
    return found


def _content_changes(before: Node | None, after: Node | None) -> bool:
    if before is None or after is None or before.kind != after.kind:
        return True
    return (before.digest, before.target) != (after.digest, after.target)


def _verb(before: Node | None, after: Node | None) -> str:
    if before is None:
        return "added"
    return "removed" if after is None else "content changed"


def _content_difference(shown: str, before: Node | None, after: Node | None, old: bytes | None, new: bytes | None) -> Difference:
    texts = [_text(before, old), _text(after, new)]
    if None in texts:
        return {"prepared": f"{shown}: {_verb(before, after)} (binary or large, not shown)\n"}
    return {"before_header": shown, "after_header": shown, "before": texts[0] or "", "after": texts[1] or ""}


def _text(node: Node | None, content: bytes | None) -> str | None:
    """The node as text, None if it cannot be shown as such."""
    if node is None:
        return ""
    if node.kind == "link":
        return f"link to {node.target}\n"
    if node.kind != "file":
        return f"{node.kind}\n"
    if content is None or len(content) > SIZE_LIMIT or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _attributes(node: Node) -> str:
    return f"mode: {node.mode:04o}\nowner: {_user(node.uid)}\ngroup: {_group(node.gid)}\n"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid) if uid >= 0 else "(a user that does not exist yet)"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return str(gid) if gid >= 0 else "(a group that does not exist yet)"
