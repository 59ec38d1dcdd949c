"""The plan of config_tree: what it does, in which order, and what it refuses."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Mapping, Sequence

import pytest
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import (
    ConfigTreeError,
    Desired,
    Node,
    Owned,
    Step,
    clean_dest,
    clean_link,
    clean_path,
    matches,
    parents,
    plan,
    revision,
    safe_order,
    triggered,
    unapplied,
)
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

State = dict[str, Node]

FOLDER = Node(kind="directory", mode=0o755)


def file(content: str, mode: int = 0o644) -> Node:
    return Node(kind="file", digest=content, mode=mode)


def link(target: str) -> Node:
    return Node(kind="link", target=target)


def take(state: State, step: Step) -> None:
    """A file system that refuses what a real one refuses."""
    above = posixpath.dirname(step.path) or "."
    if step.path != ".":
        assert state.get(above, file("")).kind == "directory", f"{step}: nothing to put it into"
    now = state.get(step.path)
    assert now == step.before, f"{step}: stands on {now}"
    if step.op == "mkdir":
        assert now is None
    elif step.op == "rmdir":
        assert now is not None
        assert now.kind == "directory"
        assert not [path for path in state if path.startswith(step.path + "/")], f"{step}: not empty"
    elif step.op == "attributes":
        assert now is not None
        assert now.kind == "directory"
    else:
        assert now is None or now.kind != "directory"
    if step.after is None:
        del state[step.path]
    else:
        state[step.path] = step.after


def undo(state: State, step: Step) -> None:
    if step.before is None:
        state.pop(step.path, None)
    else:
        state[step.path] = step.before


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
leaves = st.one_of(st.sampled_from(["one", "two"]).map(file), st.sampled_from(["one", "two"]).map(link))


@st.composite
def states(draw: st.DrawFn) -> State:
    """A file system: random leaves, with the directories that they need."""
    state: State = {".": FOLDER}
    for path, node in draw(st.dictionaries(paths, st.one_of(leaves, st.just(FOLDER)), max_size=8)).items():
        above = parents(path)
        if path in state or any(state.get(directory, FOLDER).kind != "directory" for directory in above):
            continue
        state.update(dict.fromkeys(above, FOLDER))
        state[path] = node
    return state


@st.composite
def trees(draw: st.DrawFn) -> Desired:
    """A desired tree; about half of its directories are claimed, the others only needed."""
    state = draw(states())
    claimed = {path for path, node in state.items() if node.kind == "directory" and draw(st.booleans())}
    directories = [path for path, node in state.items() if node.kind == "directory"]
    exclusive = draw(st.lists(st.sampled_from(directories), max_size=2, unique=True))
    nodes = {path: node for path, node in state.items() if node.kind != "directory" or path in claimed}
    implied = {path: node for path, node in state.items() if path not in nodes}
    return Desired(nodes=nodes, implied=implied, exclusive=tuple(exclusive))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Desired, State, dict[str, Owned]]:
    """A desired tree on a file system where an earlier tree owns something, some of it changed by others since."""
    desired, state = draw(trees()), draw(states())
    owned = {
        path: Owned(node=node if draw(st.booleans()) else file("old"), created=draw(st.booleans()))
        for path, node in state.items()
        if path != "." and draw(st.booleans())
    }
    return desired, state, owned


def planned(desired: Desired, state: State, owned: Mapping[str, Owned]) -> tuple[Step, ...]:
    try:
        return plan(desired, state, owned).steps
    except ConfigTreeError as error:
        event(f"refused: {str(error)[:60]}")
        assume(False)
        raise


@given(situations())
@settings(max_examples=200, deadline=None)
def test_the_plan_gives_the_desired_tree_and_then_nothing_is_left(situation: tuple[Desired, State, dict[str, Owned]]) -> None:
    desired, before, owned = situation
    steps = planned(desired, before, owned)
    state = dict(before)
    for step in steps:
        take(state, step)
    for path, node in desired.nodes.items():
        assert state[path] == node
    for path in desired.implied:
        assert state[path].kind == "directory"
    after = {path: Owned(node=node, created=True) for path, node in desired.nodes.items()}
    assert plan(desired, state, after).steps == ()


@given(situations())
@settings(max_examples=120, deadline=None)
def test_strangers_are_only_touched_in_exclusive_directories(situation: tuple[Desired, State, dict[str, Owned]]) -> None:
    desired, before, owned = situation
    wanted = {**desired.implied, **desired.nodes}
    for step in planned(desired, before, owned):
        exclusive = any(directory == "." or step.path.startswith(directory + "/") for directory in desired.exclusive)
        assert step.path in wanted or step.path in owned or exclusive
        if step.path not in wanted and not exclusive:
            in_the_way = any(wanted.get(directory, FOLDER).kind != "directory" for directory in parents(step.path))
            assert owned[step.path].created or in_the_way


@given(situations(), st.integers(0, 30))
@settings(max_examples=120, deadline=None)
def test_every_prefix_can_be_undone(situation: tuple[Desired, State, dict[str, Owned]], stop: int) -> None:
    desired, before, owned = situation
    steps = planned(desired, before, owned)
    state = dict(before)
    for step in steps[:stop]:
        take(state, step)
    for step in reversed(steps):
        undo(state, step)
    assert state == before


@given(situations())
@settings(max_examples=120, deadline=None)
def test_files_land_before_those_that_may_refer_to_them_and_removals_come_last(
    situation: tuple[Desired, State, dict[str, Owned]],
) -> None:
    desired, before, owned = situation
    steps = planned(desired, before, owned)
    replaced = {step.path for step in steps if step.after is None and step.path in {**desired.nodes, **desired.implied}}
    assume(not replaced)
    order = {"mkdir": 0, "attributes": 0, "remove": 3, "rmdir": 4}
    ranks = [order.get(step.op, 1 if step.before is None else 2) for step in steps]
    assert ranks == sorted(ranks)


def test_outer_files_change_after_inner_ones() -> None:
    nodes = {"nginx.conf": file("new"), "sites/a.conf": file("new"), "snippets/tls.conf": file("new")}
    before = {".": FOLDER, "sites": FOLDER, "nginx.conf": file("old"), "sites/a.conf": file("old")}
    implied = {".": FOLDER, "sites": FOLDER, "snippets": FOLDER}
    steps = plan(Desired(nodes=nodes, implied=implied), before, {"old.conf": Owned(node=file("old"))}).steps
    assert [step.path for step in steps] == ["snippets", "snippets/tls.conf", "sites/a.conf", "nginx.conf"]


def test_a_dropped_file_is_removed_only_if_the_tree_created_it() -> None:
    before = {".": FOLDER, "mine": file("x"), "theirs": file("x")}
    owned = {"mine": Owned(node=file("x"), created=True), "theirs": Owned(node=file("x"), created=False)}
    found = plan(Desired(nodes={}), before, owned)
    assert [(step.op, step.path) for step in found.steps] == [("remove", "mine")]
    assert found.released == ("theirs",)


def test_drift_is_what_others_changed_since_it_was_applied() -> None:
    owned = {"a": Owned(node=file("1")), "b": Owned(node=file("1")), "c": Owned(node=file("1"))}
    found = plan(Desired(nodes={"a": file("2"), "b": file("1"), "c": file("1")}), {"a": file("1"), "b": file("9")}, owned)
    assert found.drifted == ("b", "c")


@pytest.mark.parametrize(
    ("observed", "words"),
    [
        ({"a": link("/srv")}, "a is a link to /srv"),
        ({"a": file("x")}, "a is no directory"),
        ({"a": FOLDER, "a/b": FOLDER, "a/b/theirs": file("x")}, "a/b is a directory that holds a/b/theirs"),
        ({"a": FOLDER, "a/b": Node(kind="other")}, "neither file, directory nor link"),
    ],
)
def test_what_nobody_claimed_is_not_replaced(observed: State, words: str) -> None:
    desired = Desired(nodes={"a/b": file("new")}, implied={".": FOLDER, "a": FOLDER})
    with pytest.raises(ConfigTreeError, match=words):
        plan(desired, {".": FOLDER, **observed}, {})


def test_a_claimed_directory_replaces_a_link() -> None:
    desired = Desired(nodes={"a": FOLDER, "a/b": file("new")}, implied={".": FOLDER})
    steps = plan(desired, {".": FOLDER, "a": link("/srv")}, {}).steps
    assert [(step.op, step.path) for step in steps] == [("remove", "a"), ("mkdir", "a"), ("put", "a/b")]


def test_a_directory_becomes_a_file_and_back() -> None:
    owned = {"a": Owned(node=FOLDER), "a/b": Owned(node=file("x"))}
    steps = plan(Desired(nodes={"a": file("y")}), {".": FOLDER, "a": FOLDER, "a/b": file("x")}, owned).steps
    assert [(step.op, step.path) for step in steps] == [("remove", "a/b"), ("rmdir", "a"), ("put", "a")]
    back = Desired(nodes={"a/b": file("x")}, implied={"a": FOLDER})
    steps = plan(back, {".": FOLDER, "a": file("y")}, {"a": Owned(node=file("y"))}).steps
    assert [(step.op, step.path) for step in steps] == [("remove", "a"), ("mkdir", "a"), ("put", "a/b")]


# --- the order that a checker agrees to -------------------------------------------------------------------------------


def put(path: str, before: Node | None = None) -> Step:
    return Step(op="put", path=path, before=before, after=file("new"))


def test_a_checker_that_agrees_leaves_the_default_order() -> None:
    steps = [put("x/new"), put("x/old", file("1")), put("main", file("1"))]
    assert safe_order(steps, lambda _done: True) == steps


def test_a_file_that_needs_the_changed_main_file_waits_for_it() -> None:
    """A wildcard includes the added file at once, and it uses what only the new main file defines."""

    def accepts(done: Sequence[Step]) -> bool:
        landed = [step.path for step in done]
        return "sites/new" not in landed or "main" in landed

    steps = [put("sites/new"), put("main", file("1"))]
    assert [step.path for step in safe_order(steps, accepts)] == ["main", "sites/new"]


def test_without_any_acceptable_step_the_default_order_holds() -> None:
    steps = [put("a", file("1")), put("b", file("1"))]
    assert safe_order(steps, lambda _done: False) == steps


@given(st.permutations(["a", "b", "c", "d", "e"]))
def test_any_chain_of_needs_is_found(chain: list[str]) -> None:
    """Each file needs the one before it in a random chain; the search finds the one good order."""

    def accepts(done: Sequence[Step]) -> bool:
        landed = {step.path for step in done}
        return all(earlier in landed for earlier, later in itertools.pairwise(chain) if later in landed)

    order = safe_order([put(path, file("1")) for path in sorted(chain)], accepts)
    assert [step.path for step in order] == chain


# --- what is to be applied --------------------------------------------------------------------------------------------


def test_what_is_unapplied_depends_on_the_applied_tree_not_only_on_the_files() -> None:
    desired = {"a": file("2"), "b": file("1")}
    owned = {"a": Owned(node=file("1")), "b": Owned(node=file("1"))}
    assert unapplied((), desired, owned, {"/c": "x"}, {"/c": "x"}) == {"a"}
    assert unapplied((), desired, owned, {"/c": "y"}, {"/c": "x"}) == {"a", "/c"}


def test_the_revision_covers_content_mode_owner_link_and_watch() -> None:
    variants = [
        revision({"a": file("1")}, {}),
        revision({"a": file("2")}, {}),
        revision({"a": file("1", 0o600)}, {}),
        revision({"a": Node(kind="file", digest="1", mode=0o644, uid=1)}, {}),
        revision({"a": link("1")}, {}),
        revision({"a": link("2")}, {}),
        revision({"b": file("1")}, {}),
        revision({"a": file("1")}, {"/c": "x"}),
        revision({"a": file("1")}, {"/c": "y"}),
    ]
    assert len(set(variants)) == len(variants)
    assert revision({"b": file("1"), "a": file("1")}, {}) == revision({"a": file("1"), "b": file("1")}, {})


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("**", "a/b", True),
        ("**", "/etc/other", True),
        ("*.conf", "a.conf", True),
        ("*.conf", "sites/a.conf", False),
        ("**/*.conf", "a.conf", True),
        ("**/*.conf", "x/y/a.conf", True),
        ("sites/*", "sites/a.conf", True),
        ("sites/*", "sites/x/a.conf", False),
        ("sites/**", "sites/x/a.conf", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a.c", "abc", False),
        ("[ab]", "[ab]", True),
        ("/etc/nginx/*.conf", "a.conf", True),
        ("/etc/ssl/*", "/etc/ssl/x", True),
        ("*", "/etc/ssl", False),
    ],
)
def test_patterns(pattern: str, path: str, covered: bool) -> None:
    assert matches(pattern, path, "/etc/nginx") is covered
    assert triggered([pattern], [path], "/etc/nginx") is covered


@pytest.mark.parametrize("dest", ["/", "//", "/.", "etc/nginx", "", "/etc/../..", "/etc/.."])
def test_dest_is_an_absolute_directory_below_the_root(dest: str) -> None:
    with pytest.raises(ConfigTreeError):
        clean_dest(dest)


def test_dest_has_one_spelling() -> None:
    assert clean_dest("//etc//nginx/") == "/etc/nginx"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a/..", " a", "a\n", "a\0b"])
def test_paths_stay_inside(path: str) -> None:
    with pytest.raises(ConfigTreeError):
        clean_path(path, "files")


def test_links_inside_dest_are_relative_keys() -> None:
    assert clean_link("/etc/nginx/x/y", "/etc/nginx") == "x/y"
    assert clean_link("/etc/nginx2/x", "/etc/nginx") == "/etc/nginx2/x"
    assert clean_link("./x", "/etc/nginx") == "x"
    with pytest.raises(ConfigTreeError):
        clean_link("/", "/etc/nginx")
