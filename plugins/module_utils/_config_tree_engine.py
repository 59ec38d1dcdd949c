# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The transaction: compare, stage, validate, swap, apply, probe, record; and back again if one of them fails.

``run`` is the whole of it. ``Transaction`` is the part that changes live files; it works from the journal alone, so that a later process
can finish or undo what an earlier one began. The protocol is described in docs/decisions/0002-config-tree-transaction.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils import _config_tree_confirm as confirm
from ansible_collections.linda.ops.plugins.module_utils import _config_tree_disk as disk
from ansible_collections.linda.ops.plugins.module_utils import _config_tree_stage as staging
from ansible_collections.linda.ops.plugins.module_utils._config_tree_apply import (
    Action,
    UnitState,
    have_systemd,
    perform,
    plan_actions,
    require_running,
    unit_name,
    unit_states,
)
from ansible_collections.linda.ops.plugins.module_utils._config_tree_diff import (
    Difference,
    differences,
    hide_words,
    is_sensitive,
    net_changes,
)
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import (
    UNKNOWN_ID,
    ConfigTreeError,
    Desired,
    Node,
    Owned,
    Plan,
    Step,
    clean_dest,
    full_path,
    key_of,
    plan,
    revision,
    unapplied,
)
from ansible_collections.linda.ops.plugins.module_utils._config_tree_probe import describe as describe_probe
from ansible_collections.linda.ops.plugins.module_utils._config_tree_probe import run_probes
from ansible_collections.linda.ops.plugins.module_utils._config_tree_record import (
    APPLYING,
    CONFIRMING,
    RESTORING,
    SWAPPING,
    Applied,
    Journal,
    Record,
)
from ansible_collections.linda.ops.plugins.module_utils._config_tree_rehearsal import rehearsed_order
from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import Tree

_WITHOUT_DAEMONS = ("enable", "disable", "daemon-reload")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One call: the tree, and what to do around it. The lists have the form of the module's parameters."""

    name: str
    tree: Tree
    validate: Sequence[Sequence[str]] = ()
    watch: Sequence[str] = ()
    apply: Sequence[Mapping[str, Any]] = ()
    probe: Sequence[Mapping[str, Any]] = ()
    deadline: float = 30
    confirm: int | None = None
    state_directory: str
    check_mode: bool = False
    with_diff: bool = False


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What is reported; also what a failed run has to say beside its message."""

    changed: bool = False
    changes: list[str] = dataclasses.field(default_factory=list)
    diff: list[Difference] = dataclasses.field(default_factory=list)
    drifted: list[str] = dataclasses.field(default_factory=list)
    released: list[str] = dataclasses.field(default_factory=list)
    validated: bool = False
    not_validated: str = ""
    applied: list[str] = dataclasses.field(default_factory=list)
    probed: list[str] = dataclasses.field(default_factory=list)
    rolled_back: bool = False
    recovered: str = ""
    expired: str = ""
    swap_order: str = ""
    unconfirmed: str = ""
    remaining: float = 0.0

    def report(self) -> dict[str, Any]:
        """Return the outcome as plain data; bytes of file names that are no text are shown as escapes."""
        return {name: _printable(value) for name, value in dataclasses.asdict(self).items()}


class Failed(ConfigTreeError):
    """A transaction that did not go through, with what can be reported of it."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found on the host, and what follows from it."""

    root: str
    desired: Desired
    plan: Plan
    watched: Mapping[str, str]
    applied: Applied
    revision: str
    states: Mapping[str, UnitState]
    actions: tuple[Action, ...]
    unknown_owners: tuple[str, ...]
    interrupted: bool

    @property
    def pending(self) -> bool:
        """Tell whether anything has to be done."""
        return bool(self.plan.steps or self.actions)


def run(request: Request) -> Outcome:
    """Bring one tree to its desired state, or in check mode say what that would do.

    :raises Failed: when validation, swap, apply or probe failed; the old files are then back in their places.
    :raises ConfigTreeError: when the request cannot be carried out on this host; nothing was touched.
    """
    record = Record(request.state_directory, request.name)
    try:
        if request.check_mode:
            return _predict(request, record)
        with record.locked():
            outcome = _carry_out(request, record)
            record.forget_expired()
            return outcome
    except Failed as error:
        raise Failed(_without_secrets(str(error), request.tree), error.outcome) from None


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _without_secrets(message: str, tree: Tree) -> str:
    """The message without words that only sensitive files hold, neither the new ones nor those that stand there now."""
    secret = [file.content for file in tree.files if file.sensitive]
    for file in tree.files:
        path = full_path(file.path, tree.dest)
        if file.sensitive and os.path.isfile(path):
            with open(path, "rb") as stream:
                secret.append(stream.read())
    public = [file.content for file in tree.files if not file.sensitive]
    names = [full_path(file.path, tree.dest).encode() for file in tree.files]
    return hide_words(message, secret, [*public, *names])


# --- looking --------------------------------------------------------------------------------------------------------


def survey(request: Request, record: Record) -> Survey:
    """Look at everything the request speaks of and plan what to do; touches nothing."""
    root = clean_dest(os.path.realpath(request.tree.dest))
    desired, unknown = _desired(request.tree)
    applied = record.applied()
    interrupted = record.journal() is not None
    everything = interrupted or not applied.certain
    foreign = {key_of(path, root): other for path, other in record.foreign().items()}
    the_plan = plan(desired, _observe(root, desired, applied.owned), applied.owned, foreign)
    watched = {path: disk.watch_digest(path) for path in request.watch}
    states = unit_states(unit_name(entry["unit"]) for entry in request.apply if entry["unit"])
    wanted = functools.partial(plan_actions, everything=everything, states=states, dest=request.tree.dest, systemd=have_systemd())
    changed = unapplied(the_plan.steps, desired.nodes, applied.owned, watched, applied.watched)
    return Survey(
        root=root,
        desired=desired,
        plan=the_plan,
        watched=watched,
        applied=applied,
        revision=revision(desired.nodes, watched),
        states=states,
        actions=tuple(wanted(request.apply, changed)),
        unknown_owners=unknown,
        interrupted=interrupted,
    )


def _desired(tree: Tree) -> tuple[Desired, tuple[str, ...]]:
    """The tree in the host's terms (ids instead of names), and the names that the host does not know."""
    unknown: set[str] = set()

    def owned(node: Node, owner: str | None, group: str | None) -> Node:
        uid, gid = disk.user_id(owner), disk.group_id(group)
        unknown.update([f"user {owner}"] if uid == UNKNOWN_ID else [], [f"group {group}"] if gid == UNKNOWN_ID else [])
        return dataclasses.replace(node, uid=uid, gid=gid)

    nodes: dict[str, Node] = {}
    implied: dict[str, Node] = {}
    for file in tree.files:
        nodes[file.path] = owned(Node(kind="file", digest=disk.digest(file.content), mode=file.mode), file.owner, file.group)
    for path, target in tree.links:
        nodes[path] = Node(kind="link", target=target)
    for entry in tree.directories:
        into = implied if entry.implied else nodes
        into[entry.path] = owned(Node(kind="directory", mode=entry.mode), entry.owner, entry.group)
    return Desired(nodes=nodes, implied=implied, exclusive=tree.exclusive), tuple(sorted(unknown))


def _observe(root: str, desired: Desired, owned: Mapping[str, Owned]) -> dict[str, Node]:
    wanted = {**desired.implied, **desired.nodes}
    paths = {*wanted, *owned}
    full = {path for path in paths if path in desired.exclusive or path not in desired.implied}
    paths.update(os.path.relpath(found, root) for path in full if _is_searched(path, desired) for found in disk.walk(full_path(path, root)))
    seen = {path: disk.look(full_path(path, root)) for path in sorted(paths) if not _behind_link(path, root)}
    return {path: node for path, node in seen.items() if node is not None and not _own_scrap(path)}


def _is_searched(path: str, desired: Desired) -> bool:
    """Directories whose whole content counts: exclusive ones, dropped ones, and those that stand where a file or link shall be."""
    if path.startswith("/"):
        return False
    node = desired.nodes.get(path)
    return path in desired.exclusive or node is None or node.kind != "directory"


def _behind_link(path: str, root: str) -> bool:
    """Tell whether a directory above the path is a link: what lies behind it is not the tree's."""
    directory = os.path.dirname(path)
    while directory and not path.startswith("/"):
        if os.path.islink(os.path.join(root, directory)):
            return True
        directory = os.path.dirname(directory)
    return False


def _own_scrap(path: str) -> bool:
    """Tell whether a path is what a killed run of ours left beside a file."""
    return any(part.startswith(".") and (part.endswith(".config_tree") or ".config_tree-" in part) for part in path.split("/"))


# --- check mode -----------------------------------------------------------------------------------------------------


def _predict(request: Request, record: Record) -> Outcome:
    found = survey(request, record)
    outcome = _report(request, found)
    outcome.expired = record.expired()
    outcome.changed = found.interrupted
    if found.pending:
        with tempfile.TemporaryDirectory(prefix="config_tree-") as directory:
            _predict_validation(request, found, outcome, directory)
        outcome.changed = True
        outcome.applied = [action.describe() for action in found.actions]
        outcome.probed = [describe_probe(probe) for probe in request.probe]
    return outcome


def _predict_validation(request: Request, found: Survey, outcome: Outcome, directory: str) -> None:
    missing = staging.missing_checkers(request.validate)
    if missing:
        outcome.not_validated = f"{', '.join(missing)}: not installed"
        return
    absent = [f"{path} does not exist" for path, digest in found.watched.items() if digest == "absent"]
    absent += [f"{name} does not exist" for name in found.unknown_owners]
    try:
        _stage_and_validate(request, found, os.path.join(directory, "stage"))
        outcome.validated = bool(request.validate)
    except ConfigTreeError as error:
        if not absent:
            raise Failed(f"validate: {error}", outcome) from error
        outcome.not_validated = f"{', '.join(absent)}; {error}"


# --- the run --------------------------------------------------------------------------------------------------------


def _carry_out(request: Request, record: Record) -> Outcome:
    open_journal = record.journal()
    if open_journal is None:
        confirm.disarm(record.name)  # a run may have died between its last two steps
    try:
        found = survey(request, record)
    except ConfigTreeError:
        if open_journal is not None:
            _undo_dead_run(Transaction(record, open_journal), Outcome())
        raise
    outcome = _report(request, found)
    outcome.expired = record.expired()
    stage = staging.place_for(found.root, request.state_directory, request.name)
    try:
        if open_journal is not None:
            outcome.changed = True
            transaction = Transaction(record, open_journal)
            if open_journal.phase in (APPLYING, CONFIRMING) and open_journal.revision == found.revision and not found.plan.steps:
                outcome.recovered = "finished"
                _finish(request, found, transaction, stage, outcome)
                return outcome
            _undo_dead_run(transaction, outcome)
            found = survey(request, record)
        record.close_journal()
        if found.pending:
            _transact(request, found, record, stage, outcome)
        elif found.revision != found.applied.revision or not found.applied.certain:
            record.write_applied(_applied_after(found, request.tree, found.applied.transaction))
    finally:
        disk.remove(stage)
    return outcome


def _undo_dead_run(transaction: Transaction, outcome: Outcome) -> None:
    """Put back what a run that died had swapped. Daemons that do not follow are no matter: this run goes on to apply everything.

    :raises Failed: if a file could not be put back; the journal is kept, so that the next run tries again.
    """
    outcome.recovered = "undone"
    problems = transaction.rollback(certain=False)
    if transaction.record.journal() is not None:
        raise Failed("an earlier run died, and what it had done could not be undone: " + "; ".join(problems), outcome)


def _transact(request: Request, found: Survey, record: Record, stage: str, outcome: Outcome) -> None:
    if found.unknown_owners:
        raise Failed(f"owner and group: this host has no {', no '.join(found.unknown_owners)}; create it first", outcome)
    try:
        if request.confirm:
            confirm.refuse_without_systemd()
        _stage_and_validate(request, found, stage)
        outcome.validated = bool(request.validate)
        steps, order = rehearsed_order(found.plan.steps, request.validate, found.root, stage)
        transaction = Transaction.begin(record, found, steps)
    except (OSError, ConfigTreeError) as error:
        raise Failed(f"validate: {error}\nThe live files were not touched.", outcome) from error
    outcome.changed = True
    outcome.swap_order = order if steps else ""
    try:
        transaction.open_window(request.confirm)
    except (OSError, ConfigTreeError) as error:
        _give_up(transaction, "confirm", error, outcome)
    try:
        transaction.swap(stage)
    except (OSError, ConfigTreeError) as error:
        _give_up(transaction, "swap", error, outcome)
    _apply_and_probe(request, found, transaction, outcome)


def _finish(request: Request, found: Survey, transaction: Transaction, stage: str, outcome: Outcome) -> None:
    """Go on with a transaction of an earlier run that had swapped all of this very tree."""
    try:
        _stage_and_validate(request, found, stage)
        outcome.validated = bool(request.validate)
    except ConfigTreeError as error:
        _give_up(transaction, "validate", error, outcome)
    try:
        transaction.open_window(request.confirm)
    except (OSError, ConfigTreeError) as error:
        _give_up(transaction, "confirm", error, outcome)
    _apply_and_probe(request, found, transaction, outcome)


def _apply_and_probe(request: Request, found: Survey, transaction: Transaction, outcome: Outcome) -> None:
    try:
        outcome.applied = transaction.apply(found.actions)
    except ConfigTreeError as error:
        _give_up(transaction, "apply", error, outcome)
    try:
        outcome.probed = run_probes(request.probe, request.deadline)
    except ConfigTreeError as error:
        _give_up(transaction, "probe", ConfigTreeError("\n".join([str(error), *_fallen_units(found)])), outcome)
    if fallen := _fallen_units(found):
        _give_up(transaction, "probe", ConfigTreeError("\n".join(fallen)), outcome)
    applied = _applied_after(found, request.tree, transaction.journal.transaction, transaction.journal.steps)
    if transaction.journal.window is None:
        transaction.commit(applied)
        return
    transaction.propose(applied)
    outcome.unconfirmed = f"{transaction.journal.transaction}.{applied.revision}"
    outcome.remaining = round(transaction.journal.window.remaining, 1)


def _fallen_units(found: Survey) -> list[str]:
    """What there is to say of units that were started, reloaded or restarted and do not run."""
    fallen = []
    for action in found.actions:
        if action.unit and action.verb in ("start", "reload", "restart"):
            try:
                require_running(action.unit, once=found.states[action.unit].once)
            except ConfigTreeError as error:
                fallen.append(str(error))
    return fallen


def _give_up(transaction: Transaction, stage: str, error: Exception, outcome: Outcome) -> None:
    """Undo everything and fail.

    :raises Failed: always.
    """
    problems = transaction.rollback(certain=transaction.journal.applied.certain)
    outcome.rolled_back = True
    ending = "The previous configuration was put back and applied again."
    if transaction.nothing_before:
        ending = "There was no previous configuration; what had been installed was removed."
    if problems:
        ending = "The previous configuration was put back, but not without trouble: " + "; ".join(problems)
    raise Failed(f"{stage}: {error}\n{ending}", outcome) from error


def _stage_and_validate(request: Request, found: Survey, stage: str) -> None:
    staging.stage(stage, found.desired, {file.path: file.content for file in request.tree.files})
    staging.validate(request.validate, staging.staged_path(stage, "."), request.tree.dest)


def _applied_after(found: Survey, tree: Tree, transaction: str, steps: Sequence[Step] = ()) -> Applied:
    """The record of the tree once it is applied: what it owns, and what of it exists only because of it."""
    replaced = {step.path for step in steps if step.before is not None}
    created = {step.path for step in steps if step.before is None} - replaced
    before = found.applied.owned
    owned: dict[str, Owned] = {}
    for path, node in {**found.desired.implied, **found.desired.nodes}.items():
        mine = before[path].created if path in before else path in created
        if mine or path in found.desired.nodes:
            owned[path] = Owned(node=node, created=mine, sensitive=is_sensitive(path, tree.sensitive, {}, found.root))
    return Applied(transaction=transaction, dest=found.root, revision=found.revision, owned=owned, watched=found.watched, certain=True)


# --- commit-confirm ------------------------------------------------------------------------------------------------


def settle(state_directory: str, name: str, token: str) -> Outcome:
    """Confirm an open transaction, over a connection that was made after it. ``token`` is what its run called ``unconfirmed``.

    :raises Failed: if there is nothing to confirm any more; the message says what has become of it.
    """
    transaction, _dot, wanted = token.partition(".")
    record = Record(state_directory, name)
    with record.locked():
        journal = record.journal()
        if journal is not None and journal.transaction == transaction and journal.proposed is not None:
            Transaction(record, journal).commit(journal.proposed)
            return Outcome(changed=True)
        applied = record.applied()
        if applied.transaction == transaction and applied.revision == wanted:
            return Outcome(changed=True)  # the answer to an earlier call got lost
        undone = record.expired()
    raise Failed(undone or f"Another run has taken over the change of {name} before it was confirmed.", Outcome(expired=undone))


def expire(state_directory: str, name: str) -> int:
    """Undo the open transaction of a tree if its window is over, or the host was started anew; the host itself calls this.

    Returns the exit status: 0 when the old configuration is back or nothing had to be done.
    """
    record = Record(state_directory, name)
    with _taken_over(record):
        journal = record.journal()
        if journal is None or journal.window is None:
            confirm.disarm(name)
            return 0
        starting = not confirm.is_armed_since_start(name)
        if not starting and journal.window.remaining > 0:
            return 0
        why = "the host was started anew" if starting else f"the {journal.window.seconds} s for that were over"
        now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        message = f"The host undid the change of {name} at {now}, because nobody had confirmed it when {why}."
        record.write_expired(message)
        problems = Transaction(record, journal).rollback(certain=journal.applied.certain, starting=starting)
        if problems:
            record.write_expired(f"{message} Not without trouble: {'; '.join(problems)}")
        return int(record.journal() is not None)


@contextlib.contextmanager
def _taken_over(record: Record) -> Iterator[None]:
    """Hold the tree, also against the run that opened the window, if that hangs in something. Any other run is waited for."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(record.locked(wait=1))
        except ConfigTreeError:
            journal, holder = record.journal(), record.holder()
            if journal is not None and journal.window is not None and journal.window.owner == holder:
                confirm.end(holder)
            held.enter_context(record.locked())
        yield


# --- what to report -------------------------------------------------------------------------------------------------


def _report(request: Request, found: Survey) -> Outcome:
    outcome = Outcome(
        drifted=[full_path(path, request.tree.dest) for path in found.plan.drifted if not found.interrupted],
        released=[full_path(path, request.tree.dest) for path in found.plan.released],
    )
    changes = net_changes(found.plan.steps)
    outcome.changes = [full_path(path, request.tree.dest) for path in changes]
    if request.with_diff:
        outcome.diff = _difference(request, found, changes)
    return outcome


def _difference(request: Request, found: Survey, changes: Mapping[str, tuple[Node | None, Node | None]]) -> list[Difference]:
    old: dict[str, bytes] = {}
    hidden: dict[str, str] = {}
    for path, (before, after) in changes.items():
        if is_sensitive(path, request.tree.sensitive, found.applied.owned, found.root):
            hidden[path] = "sensitive, not shown"
        elif after is None and path not in found.applied.owned:
            hidden[path] = "not managed here, not shown"
        elif before and before.kind == "file":
            with open(full_path(path, found.root), "rb") as stream:
                old[path] = stream.read()
    new = {file.path: file.content for file in request.tree.files}
    return differences(changes, old, new, hidden, request.tree.dest)


# --- the part that changes live files -------------------------------------------------------------------------------


class Transaction:
    """An open transaction. Everything it does can be repeated or undone from its journal by another process."""

    def __init__(self, record: Record, journal: Journal) -> None:
        self.record = record
        self.journal = journal

    @classmethod
    def begin(cls, record: Record, found: Survey, steps: Sequence[Step]) -> Transaction:
        """Keep the old files, then write the journal: from here on a run that dies is finished or undone by the next."""
        disk.remove(record.backups)
        disk.private_directory(record.backups)
        for number, step in enumerate(steps):
            if step.before and step.before.kind == "file":
                disk.keep(full_path(step.path, found.root), os.path.join(record.backups, str(number)))
        disk.sync_directory(record.backups)
        journal = Journal(
            transaction=secrets.token_hex(8),
            dest=found.root,
            phase=SWAPPING,
            revision=found.revision,
            steps=tuple(steps),
            applied=found.applied,
            units={
                unit: {"running": state.running, "enabled": state.file_state in ("enabled", "enabled-runtime")}
                for unit, state in found.states.items()
            },
        )
        record.write_journal(journal)
        return cls(record, journal)

    @property
    def nothing_before(self) -> bool:
        """Tell whether this is a first installation, with nothing to go back to."""
        steps = self.journal.steps
        return bool(steps) and not self.journal.applied.owned and all(step.before is None for step in steps)

    def open_window(self, seconds: int | None) -> None:
        """Have the host undo all this by itself unless it is confirmed in time; before the first live file is touched."""
        if not seconds:
            if self.journal.window is not None:
                self._write(window=None)
                confirm.disarm(self.record.name)
            return
        self._write(window=confirm.Window.of(seconds))
        confirm.arm(
            directory=self.record.directory,
            state_directory=self.record.state_directory,
            name=self.record.name,
            dest=self.journal.dest,
            seconds=seconds,
        )

    def propose(self, applied: Applied) -> None:
        """Everything is done but the word of somebody who still reaches this host."""
        self._write(phase=CONFIRMING, proposed=applied)

    def swap(self, stage: str) -> None:
        """Put every step's new state in place, one rename each."""
        for step in self.journal.steps:
            if step.after is not None and step.after.kind == "file":
                disk.sync_file(staging.staged_path(stage, step.path))
        for step in self.journal.steps:
            self._do(step, stage)
        self._sync()

    def apply(self, actions: Sequence[Action]) -> list[str]:
        """Make the daemons follow; returns what was really done."""
        self._enter(APPLYING, tuple((action.verb, action.unit, action.argv) for action in actions))
        return [perform(action) for action in actions]

    def commit(self, applied: Applied) -> None:
        """Record the tree as applied; the transaction is over."""
        self.record.write_applied(applied)
        self.record.close_journal()
        if self.journal.window is not None:
            confirm.disarm(self.record.name)

    def rollback(self, *, certain: bool, starting: bool = False) -> list[str]:
        """Put the old files back and make the daemons follow again; returns what went wrong on the way.

        A file that could not be put back, or a record that could not be written, leaves the journal open: the next run tries again.
        ``certain`` says whether the daemons are known to run the old tree once that has succeeded. While the host is ``starting`` none runs
        yet, and units are only enabled or disabled.
        """
        with contextlib.suppress(OSError):  # on a full disk the journal as it is will do
            self._enter(RESTORING, self.journal.actions)
        stuck: list[str] = []
        leave = [Action(verb=verb, unit=unit) for verb, unit in self._units_to_leave()]
        problems = _attempt(action for action in leave if not starting or action.verb in _WITHOUT_DAEMONS)
        for number, step in reversed(list(enumerate(self.journal.steps))):
            try:
                self._undo(number, step)
            except (OSError, ConfigTreeError) as error:
                stuck.append(f"{full_path(step.path, self.journal.dest)}: {error}")
        self._sync()
        problems += _attempt(action for action in self._actions_again() if not starting or action.verb in _WITHOUT_DAEMONS)
        if not stuck:
            certain = certain and not problems
            try:
                self.commit(dataclasses.replace(self.journal.applied, transaction=self.journal.transaction, certain=certain))
            except OSError as error:
                problems.append(str(error))
        return stuck + problems

    def _enter(self, phase: str, actions: tuple[tuple[str, str, tuple[str, ...]], ...]) -> None:
        self._write(phase=phase, actions=actions)

    def _write(self, **changes: Any) -> None:
        self.journal = dataclasses.replace(self.journal, **changes)
        self.record.write_journal(self.journal)

    def _sync(self) -> None:
        disk.sync_parents(full_path(step.path, self.journal.dest) for step in self.journal.steps)

    def _do(self, step: Step, stage: str) -> None:
        path = full_path(step.path, self.journal.dest)
        if step.after is None:
            (os.rmdir if step.op == "rmdir" else os.unlink)(path)
        elif step.op == "mkdir":
            _make_directory(path, step.after)
        elif step.op == "attributes":
            disk.own(path, step.after)
        elif step.after.kind == "link":
            self._land_link(step.after.target, path)
        else:
            disk.land(staging.staged_path(stage, step.path), path)

    def _undo(self, number: int, step: Step) -> None:
        path = full_path(step.path, self.journal.dest)
        now = disk.look(path)
        disk.remove(disk.beside_name(path))
        if now == step.before:
            return
        if step.before is None:
            _remove_made(path, now)
        elif step.before.kind == "directory":
            if now is None:
                _make_directory(path, step.before)
            disk.own(path, step.before)
        elif step.before.kind == "link":
            self._land_link(step.before.target, path)
        else:
            again = os.path.join(self.record.directory, "again")
            disk.keep(os.path.join(self.record.backups, str(number)), again)
            disk.land(again, path)
            disk.remove(again)

    def _land_link(self, target: str, path: str) -> None:
        temporary = os.path.join(self.record.directory, "link")
        disk.remove(temporary)
        os.symlink(target, temporary)
        disk.land(temporary, path)

    def _units_to_leave(self) -> list[tuple[str, str]]:
        """Units that this transaction started or enabled and that were not so before."""
        begun = [(verb, unit) for verb, unit, _argv in self.journal.actions if unit]
        before = self.journal.units
        stop = [("stop", unit) for verb, unit in begun if verb in ("start", "reload", "restart") and not before[unit]["running"]]
        return stop + [("disable", unit) for verb, unit in begun if verb == "enable" and not before[unit]["enabled"]]

    def _actions_again(self) -> list[Action]:
        """What makes the daemons follow the old tree; nothing for commands when there was no old tree."""
        again = []
        for verb, unit, argv in self.journal.actions:
            was_running = bool(unit) and self.journal.units[unit]["running"]
            if (verb == "argv" and not self.nothing_before) or verb == "daemon-reload" or (verb in ("reload", "restart") and was_running):
                again.append(Action(verb=verb, unit=unit, argv=argv))
            elif verb == "disable" and self.journal.units[unit]["enabled"]:
                again.append(Action(verb="enable", unit=unit))
        return again


def _attempt(actions: Iterable[Action]) -> list[str]:
    """Perform all actions, and return what failed."""
    problems = []
    for action in actions:
        try:
            perform(action)
        except ConfigTreeError as error:
            problems.append(str(error))
    return problems


def _make_directory(path: str, node: Node) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)  # above dest only: all other parents have steps of their own
    os.mkdir(path, 0o700)
    disk.own(path, node)


def _remove_made(path: str, now: Node | None) -> None:
    """Remove what a step made. A directory that others have put something into by now stays."""
    if now is not None and now.kind == "directory":
        with contextlib.suppress(OSError):
            os.rmdir(path)
    else:
        disk.remove(path)
