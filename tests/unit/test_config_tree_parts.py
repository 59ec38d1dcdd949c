"""The pure parts of config_tree beside the plan: what travels, what is applied, what is shown."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._config_tree_apply import UnitState, plan_actions
from ansible_collections.linda.ops.plugins.module_utils._config_tree_diff import differences, hide_words, net_changes
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError, Node, Step
from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import (
    ARGUMENTS,
    DirectorySpec,
    FileSpec,
    Tree,
    check_parameters,
    octal_mode,
    refuse_unknown,
)
from ansible_collections.linda.ops.plugins.plugin_utils._config_tree_render import lines_of_name
from hypothesis import given
from hypothesis import strategies as st

# --- what travels -----------------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8)
file_specs = st.builds(
    FileSpec, path=words, content=st.binary(max_size=300), mode=st.integers(0, 0o7777), owner=st.none() | words, sensitive=st.booleans()
)


@given(st.lists(file_specs, max_size=4), st.lists(st.tuples(words, words), max_size=3), st.lists(words, max_size=3))
def test_a_tree_arrives_as_it_left(files: list[FileSpec], links: list[tuple[str, str]], patterns: list[str]) -> None:
    directories = (DirectorySpec(path=".", mode=0o755, implied=True),)
    tree = Tree(
        dest="/etc/x", files=tuple(files), links=tuple(links), directories=directories, exclusive=tuple(patterns), sensitive=tuple(patterns)
    )
    assert Tree.decode(tree.encode()) == tree


@pytest.mark.parametrize("text", ["", "x", "eJw=", "****"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigTreeError, match="rendered: not a tree"):
        Tree.decode(text)


@pytest.mark.parametrize("text", ["416", "640", "u=rw", "0888", "0", "00640000", "0640 "])
def test_modes_are_octal_with_a_leading_zero(text: str) -> None:
    with pytest.raises(ConfigTreeError, match="quoted and octal"):
        octal_mode(text, "modes")
    assert (octal_mode("0640", ""), octal_mode("01777", "")) == (0o640, 0o1777)


def test_unknown_parameters_are_named_with_the_closest_one() -> None:
    with pytest.raises(ConfigTreeError, match=r"no parameter probe\.server; did you mean server_name"):
        refuse_unknown({"probe": [{"server": "x"}]})
    with pytest.raises(ConfigTreeError, match=r"no parameter qqqqq; there are apply, confirm, confirm_port, deadline"):
        refuse_unknown({"qqqqq": 1})


# --- what is applied --------------------------------------------------------------------------------------------------

RUNNING = UnitState(loaded="loaded", active="active", file_state="enabled", can_reload=True)
DEAD = UnitState(loaded="loaded", active="inactive", file_state="disabled", can_reload=True)


def entry(unit: str = "", **more: Any) -> dict[str, Any]:
    return {"paths": ["**"], "unit": unit or None, "argv": None, "action": "reload", "enabled": None, **more}


def actions(entries: list[dict[str, Any]], states: dict[str, UnitState], changed: set[str], **more: Any) -> list[str]:
    found = plan_actions(entries, changed, everything=more.get("everything", False), states=states, dest=more.get("dest", "/etc/x"))
    return [action.describe() for action in found]


@pytest.mark.parametrize(
    ("state", "action", "changed", "expected"),
    [
        (RUNNING, "reload", {"a"}, ["reload x.service"]),
        (RUNNING, "restart", {"a"}, ["restart x.service"]),
        (RUNNING, "start", {"a"}, []),
        (RUNNING, "reload", set(), []),
        (UnitState(active="reloading", can_reload=True), "reload", {"a"}, ["reload x.service"]),
        (UnitState(active="active", can_reload=False), "reload", {"a"}, ["restart x.service"]),
        (DEAD, "reload", set(), ["start x.service"]),
        (DEAD, "restart", {"a"}, ["start x.service"]),
        (DEAD, "start", set(), ["start x.service"]),
        (UnitState(active="failed"), "reload", set(), ["start x.service"]),
        (UnitState(active="activating"), "start", set(), ["start x.service"]),
        (UnitState(active="inactive", once=True), "start", set(), []),
        (UnitState(active="inactive", once=True), "start", {"a"}, ["start x.service"]),
        (UnitState(), "reload", set(), ["start x.service"]),
    ],
)
def test_what_a_unit_needs(state: UnitState, action: str, changed: set[str], expected: list[str]) -> None:
    assert actions([entry("x", action=action)], {"x.service": state}, changed) == expected


@pytest.mark.parametrize(
    ("file_state", "enabled", "expected"),
    [
        ("disabled", True, ["enable x.service"]),
        ("enabled", True, []),
        ("static", True, []),
        ("enabled-runtime", True, ["enable x.service"]),
        ("enabled", False, ["disable x.service"]),
        ("disabled", False, []),
        ("static", False, []),
        ("", False, []),
        ("disabled", None, []),
    ],
)
def test_enabling(file_state: str, enabled: bool | None, expected: list[str]) -> None:
    states = {"x.service": UnitState(active="active", file_state=file_state)}
    assert actions([entry("x", enabled=enabled)], states, set()) == expected


def test_one_unit_gets_one_verb_the_strongest() -> None:
    entries = [entry("x", paths=["a"], action="reload"), entry("y.timer", action="start"), entry("x", paths=["b"], action="restart")]
    states = {"x.service": RUNNING, "y.timer": DEAD}
    assert actions(entries, states, {"a", "b"}) == ["restart x.service", "start y.timer"]
    assert actions(entries, states, {"a"}) == ["reload x.service", "start y.timer"]
    assert actions(entries, states, set(), everything=True) == ["restart x.service", "start y.timer"]


def test_unit_files_precede_everything_with_a_daemon_reload() -> None:
    unit_file = {"systemd/system/x.service"}
    assert actions([entry("x")], {"x.service": RUNNING}, unit_file, dest="/etc") == ["daemon-reload", "reload x.service"]
    assert actions([entry("x")], {"x.service": RUNNING}, unit_file, dest="/etc/x") == ["reload x.service"]
    assert actions([entry("x")], {"x.service": UnitState(active="active", stale=True)}, set()) == ["daemon-reload"]
    assert actions([entry(argv=["true"])], {}, unit_file, dest="/etc") == ["daemon-reload", "true"]
    assert not plan_actions([], unit_file, everything=False, states={}, dest="/etc", systemd=False)


def test_a_command_runs_once_though_two_entries_name_it() -> None:
    assert actions([entry(argv=["a", "b"], paths=["x"]), entry(argv=["a", "b"], paths=["y"])], {}, {"x", "y"}) == ["a b"]


# --- what is shown ----------------------------------------------------------------------------------------------------


def node(content: str = "", **more: Any) -> Node:
    return Node(kind="file", digest=content, mode=0o644, **more)


@given(st.binary(min_size=1, max_size=60), st.binary(min_size=1, max_size=60))
def test_hidden_content_leaves_no_trace(old: bytes, new: bytes) -> None:
    """Two different secrets of any length give the very same difference."""
    change = {"key": (node("1"), node("2"))}
    hidden = {"key": "sensitive, not shown"}
    shown = differences(change, {"key": old}, {"key": new}, hidden, "/etc")
    assert shown == [{"prepared": "/etc/key: content changed (sensitive, not shown)\n"}]


def test_binary_and_large_files_are_named_only() -> None:
    change: dict[str, tuple[Node | None, Node | None]] = {"b": (None, node("2"))}
    for content in (b"\0", b"\xff\xfe", b"x" * (1 << 20)):
        assert differences(change, {}, {"b": content}, {}, "/etc") == [{"prepared": "/etc/b: added (binary or large, not shown)\n"}]


def test_a_change_of_mode_is_an_entry_of_its_own() -> None:
    after = Node(kind="file", digest="1", mode=0o600)
    (found,) = differences({"a": (node("1"), after)}, {}, {}, {}, "/etc")
    assert found["before"] == "mode: 0644\nowner: root\ngroup: root\n"
    assert found["after"] == "mode: 0600\nowner: root\ngroup: root\n"


def test_several_steps_at_one_path_are_one_change() -> None:
    folder = Node(kind="directory")
    steps = [Step(op="rmdir", path="a", before=folder, after=None), Step(op="put", path="a", before=None, after=node("1"))]
    assert net_changes(steps) == {"a": (folder, node("1"))}


def test_words_of_secrets_are_hidden_others_are_not() -> None:
    secret = [b"password = correct-horse-battery\nshort\n", "schlüsselwort\n".encode()]
    public = [b"password is public here\n"]
    said = 'line 1: bad value "correct-horse-battery" for password, short, schlüsselwort'
    assert hide_words(said, secret, public) == 'line 1: bad value "********" for password, short, ********'


def test_the_lines_that_use_a_name() -> None:
    text = "name\n{{ name }}\n{% if other.name %}{% endif %}\n{# name #}\n{{ other['name'] }}\n{{ names }}\n"
    assert lines_of_name("name", text) == [2, 3, 5]
    assert lines_of_name("name", "{% broken") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"confirm": 9}, "confirm: 9 must be 10 to 3600 seconds"),
        ({"confirm": 3601}, "confirm: 3601 must be"),
        ({"confirm_port": 2222}, "confirm_port: means nothing without confirm"),
        ({"confirm": 60, "confirm_port": 65536}, "confirm_port: 65536 is not a port"),
    ],
)
def test_windows_that_cannot_be_meant(options: dict[str, int], said: str) -> None:
    defaults = {name: option.get("default") for name, option in ARGUMENTS.items()}
    with pytest.raises(ConfigTreeError, match=said):
        check_parameters({**defaults, "name": "t", "dest": "/etc/t", **options})
