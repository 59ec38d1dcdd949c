#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring a MongoDB replica set to its description, one safe step after the other."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_replset
short_description: Start a MongoDB replica set and keep it as described
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares a replica set with its description, plans the way, and goes it step by step. The plan is the same in check mode, in the
    diff and in the run.
  - Every prefix of a plan is safe. One reconfiguration changes one voter or one name, the voters that are up stay a majority, a new
    voter joins without a vote and gets it when it has caught up, and a primary that has to go hands over first.
  - After each step the servers are read again. A run that died at any point is finished by the next one.
  - Members keep their C(_id). Hosts are compared as lower-case C(host:port).
  - A step that would be refused because a member is down is refused only when it stays down for five heartbeats (ten
    seconds by default).
options:
  replica_set:
    description:
      - The name of the set, as in C(replication.replSetName) of its members.
    type: str
    default: rs0
  members:
    description:
      - All members of the set. A member that is not listed is removed.
      - Each is C(host[:port]) (port 27017 when missing) or a mapping with C(host) and any of C(priority) (0 to 1000), C(votes)
        (0 or 1), C(hidden), C(delay) in seconds (also C(secondary_delay_secs)), C(build_indexes), C(arbiter), C(tags), C(horizons)
        (name to C(host:port), for all members or for none) and C(renamed_from). A property that is not given has the server's
        default; a member without a vote, hidden or delayed gets priority 0.
      - The number of voters must be odd, and at most seven.
      - C(renamed_from) is the host that the member had before. While the set still knows it under that name, and the new name is
        answered by the same server, it is renamed and keeps its C(_id) and its data; one member after the other, the primary last.
        Later the entry may stay as it is. Without it another host is another member, which is added, and copies all data.
      - Of C(arbiter) a set has at most one. It takes no options for data, and its data path has to be empty when it joins, because a
        server that holds data of the set breaks down as an arbiter. Before the voters of a set with an arbiter change, its default
        write concern is set (see O(default_write_concern)).
    type: list
    elements: raw
    required: true
  arbiter_at_index:
    description: The place of the arbiter in O(members), from 0; another way to write C(arbiter).
    type: int
  beyond_seven:
    description:
      - What to do when O(members) has more than seven voters. V(refuse) says which ones are too many. V(no_vote) takes the vote and the
        priority of those in the list that come after the seventh and do not ask for a vote by C(votes).
    type: str
    choices: [refuse, no_vote]
    default: refuse
  default_write_concern:
    description:
      - The write concern of clients that ask for none - V(majority), a number of members, or the name of a mode. Once it was set it can
        be changed and not be unset.
      - When not given it is left as it is, except that it becomes V(majority) before an arbiter joins or leaves, if nobody has set it.
      - While the set is new and has no users the server takes no such command; the first run with a login sets it.
    type: str
  chaining_allowed:
    description: Whether a secondary may replicate from another secondary. Left as it is when not given.
    type: bool
  election_timeout_millis:
    description: Milliseconds without a primary after which the others elect one. Left as it is when not given.
    type: int
  heartbeat_timeout_secs:
    description: Seconds after which a member that does not answer counts as down. Left as it is when not given.
    type: int
  heartbeat_interval_millis:
    description: Milliseconds between two heartbeats. Left as it is when not given.
    type: int
  catch_up_timeout_millis:
    description: Milliseconds that a new primary may use to catch up, V(-1) for any time. Left as it is when not given.
    type: int
  catch_up_takeover_delay_millis:
    description:
      - Milliseconds after which a member that is ahead of a primary that is catching up takes over, V(-1) for never. Left as it is
        when not given.
    type: int
  max_lag:
    description: A member counts as caught up when it is at most this many seconds behind the primary.
    type: int
    default: 10
  sync_timeout:
    description:
      - Seconds to wait for one member to catch up. When they are over the run fails with the code C(not_caught_up); the member goes on
        with its copy, and the next run goes on from there.
    type: int
    default: 3600
  force:
    description: Only V(false) is taken. A forced reconfiguration loses writes; M(linda.ops.mongodb_replset_recover) does it with care.
    type: bool
    default: false
  reconfigure:
    description: Only V(true) is taken; the set is always brought to its description. To look only, use check mode.
    type: bool
    default: true
  protocol_version:
    description: Only V(1) is taken; the servers know no other.
    type: int
    choices: [1]
  validate:
    description: Has no effect, the description is always validated. For tasks that were written for community.mongodb.
    type: bool
    default: true
  max_time_ms:
    description: Has no effect, O(timeout) bounds each step. For tasks that were written for community.mongodb.
    type: int
  cluster_cmd:
    description: Has no effect. For tasks that were written for community.mongodb.
    type: str
  debug:
    description: Has no effect. For tasks that were written for community.mongodb.
    type: bool
    default: false
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads and plans; no command that writes is sent.
  diff_mode:
    support: full
    description: Shows the configuration of the set before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
seealso:
  - module: linda.ops.mongodb_users
  - module: linda.ops.mongodb_replset_recover
"""

EXAMPLES = r"""
- name: Three members, the first one preferred as primary
  linda.ops.mongodb_replset:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    replica_set: rs0
    members:
      - host: mongo1.example.net
        priority: 2
      - mongo2.example.net
      - mongo3.example.net
  run_once: true

- name: Add a hidden member for backups that never votes
  linda.ops.mongodb_replset:
    login_host: mongo1.example.net
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    replica_set: rs0
    members:
      - mongo1.example.net
      - mongo2.example.net
      - mongo3.example.net
      - host: backup1.example.net
        votes: 0
        hidden: true
  delegate_to: localhost
  run_once: true

- name: Two members that hold data and an arbiter
  linda.ops.mongodb_replset:
    login_host: mongo1.example.net
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    replica_set: rs0
    members:
      - mongo1.example.net
      - mongo2.example.net
      - host: arbiter1.example.net
        arbiter: true
    default_write_concern: majority
  delegate_to: localhost
  run_once: true

- name: The members move to other names, and clients outside have names of their own
  linda.ops.mongodb_replset:
    login_host: mongo1.db.example.net
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    replica_set: rs0
    members:
      - host: mongo1.db.example.net
        renamed_from: mongo1.example.net
        horizons: {outside: "db1.example.com:27017"}
      - host: mongo2.db.example.net
        renamed_from: mongo2.example.net
        horizons: {outside: "db2.example.com:27017"}
      - host: mongo3.db.example.net
        renamed_from: mongo3.example.net
        horizons: {outside: "db3.example.com:27017"}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
state:
  description: >-
    What was found: V(not_running) and V(no_driver) (check mode only), V(no_set), V(no_users) (the set runs and has no user yet; its
    members are compared, their properties cannot be read), or V(ready).
  returned: success
  type: str
  sample: ready
plan:
  description: >-
    The steps from what was found to the description. C(action) is C(initiate), C(reconfigure), C(rename), C(set_default_write_concern),
    C(wait_caught_up) or C(step_down).
  returned: always
  type: list
  elements: dict
  sample:
    - action: reconfigure
      host: mongo4.example.net:27017
      reason: add mongo4.example.net:27017 without a vote
steps_done:
  description: The steps that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
primary:
  description: The primary at the end, V(null) when there is none or in check mode on a new set.
  returned: success
  type: str
  sample: mongo1.example.net:27017
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(even_voters), V(duplicate_member), V(majority_lost),
    V(no_successor), V(not_caught_up), V(member_of_other_set), V(wrong_member), V(force_refused), V(login_failed), V(not_running) or
    V(tls_failed).
  returned: failure
  type: str
  sample: even_voters
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    MAJORITY,
    POLL_SECONDS,
    Cluster,
    CommandError,
    Link,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_plan import (
    SETTINGS,
    Desired,
    Health,
    Member,
    Observed,
    Probe,
    Step,
    canonical_host,
    parse_desired,
    picture,
    plan,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str", "default": "rs0"},
    "members": {"type": "list", "elements": "raw", "required": True},
    "arbiter_at_index": {"type": "int"},
    "beyond_seven": {"type": "str", "choices": ["refuse", "no_vote"], "default": "refuse"},
    "default_write_concern": {"type": "str"},
    "chaining_allowed": {"type": "bool"},
    "election_timeout_millis": {"type": "int"},
    "heartbeat_timeout_secs": {"type": "int"},
    "heartbeat_interval_millis": {"type": "int"},
    "catch_up_timeout_millis": {"type": "int"},
    "catch_up_takeover_delay_millis": {"type": "int"},
    "max_lag": {"type": "int", "default": 10},
    "sync_timeout": {"type": "int", "default": 3600},
    "force": {"type": "bool", "default": False},
    "reconfigure": {"type": "bool", "default": True},
    "protocol_version": {"type": "int", "choices": [1]},
    "validate": {"type": "bool", "default": True},
    "max_time_ms": {"type": "int"},
    "cluster_cmd": {"type": "str"},
    "debug": {"type": "bool", "default": False},
}
DATA_STATES = (1, 2)  # PRIMARY, SECONDARY
ARBITER = 7
# A member that has just started, or was just added, counts as down until the next heartbeats; so only what stays down is down.
SETTLE_HEARTBEATS = 5
HEARTBEAT_MILLIS = 2000
# A member that has stepped down refuses to be elected for so long; enough to change it, and short for whoever needs it as successor.
STEP_DOWN_SECONDS = 15
# The longest that writes wait for a successor, who was found level just before.
HAND_OVER_SECONDS = 5
EXCEEDED_TIME_LIMIT = 262
# A reconfiguration asks the voters itself; this is the server's number for too few answers.
NODE_NOT_FOUND = 74
# What an election says to a command that comes in the middle of it.
ELECTING = ("not_primary", "connection_lost")
HINTS = {"no_primary": " If most voters are lost for good, see linda.ops.mongodb_replset_recover."}
# The server's numbers for "another reconfiguration is under way" and "the last one is not committed yet".
BUSY = frozenset({109, 308})


class Replset:
    """A replica set under work: reads it, and carries out single steps on it."""

    def __init__(self, cluster: Cluster, desired: Desired, params: Mapping[str, Any], *, check_mode: bool) -> None:
        self.cluster = cluster
        self.desired = desired
        self.max_lag = float(params["max_lag"])
        self.sync_timeout = float(params["sync_timeout"])
        self.timeout = float(params["timeout"])
        self.check_mode = check_mode
        self.delays: dict[str, float] = {}
        self.patience = 0.0  # seconds in which a member that has just gone or come is seen as such
        self.refused_since: float | None = None
        self.highest_id = -1
        # The localhost exception does not cover it, so a new set has the default that follows from its members until the next run.
        self.reads_write_concern = cluster.state == "ready"
        if cluster.state == "no_set":
            self._find_elsewhere()

    def observe(self) -> Observed:
        """Read the servers. In check mode a missing primary is no reason to fail: the plan is made from what is there."""
        if not self.cluster.hello.get("setName") and not self.cluster.hello.get("isreplicaset"):
            raise MongodbError(
                "not_replicated", f"{self.cluster.entry.host} runs without replication.replSetName: set it and restart mongod."
            )
        name = self.cluster.hello.get("setName")
        if name is not None and name != self.desired.name:
            return Observed(name=name, members=())
        if self.cluster.state == "no_set":
            return Observed(probes=self._probes(set()))
        if self.cluster.state == "no_users":
            return self._observe_without_rights()
        link = self.cluster.member if self.check_mode else self.cluster.primary()
        config = link.command("replSetGetConfig")["config"]
        status = link.command("replSetGetStatus")
        members = tuple(Member.from_document(document) for document in config["members"])
        self.delays = {member.host: float(member.delay) for member in members}
        self.highest_id = max([self.highest_id, *(member.id or 0 for member in members)])
        return Observed(
            name=config["_id"],
            members=members,
            settings=config.get("settings", {}),
            health=self._health(status),
            primary=next((canonical_host(one["name"]) for one in status["members"] if one["state"] == 1), None),
            probes=self._probes({member.host for member in members}),
            highest_id=self.highest_id,
            **self._write_concern(link, members),
        )

    def look(self) -> tuple[Observed, list[Step]]:
        """Read the servers and plan. A plan that is refused because somebody is down is made again for some heartbeats."""
        began = time.monotonic()
        while True:
            try:
                observed = self.observe()
                self.patience = SETTLE_HEARTBEATS * observed.settings.get("heartbeatIntervalMillis", HEARTBEAT_MILLIS) / 1000
                return observed, plan(self.desired, observed)
            except MongodbError as error:
                passing = self._time_to_pass(error, ("majority_lost", "no_successor"))
                if passing is None or time.monotonic() > began + passing:
                    raise
            time.sleep(POLL_SECONDS)

    def carry_out(self, step: Step) -> bool:
        """Carry out one step and return True when it is done and known to the majority; False when the set has to be read anew instead.

        That is so when the plan relied on a member that the last heartbeat found up and that has gone since, and when an election came
        between: the step may be done or not.
        """
        try:
            self._carry_out(step)
        except MongodbError as error:
            self.refused_since = self.refused_since or time.monotonic()
            passing = self._time_to_pass(error)
            if passing is None or time.monotonic() > self.refused_since + passing:
                raise
            # No command waits for a heartbeat: hello can be told to wait for another primary or configuration only, and a dead secondary
            # is neither.
            time.sleep(POLL_SECONDS)
            return False
        self.refused_since = None
        return True

    def _time_to_pass(self, error: MongodbError, settling: Sequence[str] = ()) -> float | None:
        """Return the seconds after which an error that passes by itself should have passed; None for all others.

        An election takes as long as it takes; that a member has gone or come (``settling``, and a refused quorum check) is known after
        some heartbeats.
        """
        if error.code in ELECTING:
            return float(self.timeout)
        refused = isinstance(error, CommandError) and error.number == NODE_NOT_FOUND
        return self.patience if refused or error.code in settling else None

    def _carry_out(self, step: Step) -> None:
        if step.level is not None:
            self._wait_level(step.level)
        if step.action == "initiate":
            self._initiate(step)
        elif step.action == "wait_caught_up":
            self._wait_caught_up(str(step.host))
        elif step.action == "step_down":
            self._step_down(str(step.host))
        elif step.action == "set_default_write_concern":
            concern = {"w": step.write_concern, "wtimeout": 0}
            self.cluster.primary().command("setDefaultRWConcern", defaultWriteConcern=concern, writeConcern=dict(MAJORITY))
        else:
            self._reconfigure(step)
            self._wait_up(step)

    def _find_elsewhere(self) -> None:
        """The entry server has no set, but the set may live on the other members: then this one only has to join in again."""
        for member in self.desired.members:
            try:
                hello = self.cluster.ask(member.host)
            except MongodbError:
                continue
            if hello.get("setName") == self.desired.name:
                self.cluster.move_to(member.host)
                return

    def _observe_without_rights(self) -> Observed:
        """While there are no users the server shows who is a member, not how: take the properties as described."""
        status = self.cluster.entry.command("replSetGetStatus")
        wanted = {member.host: member for member in self.desired.members}
        present = {canonical_host(one["name"]): int(one["_id"]) for one in status["members"]}
        if set(present) != set(wanted):
            raise MongodbError(
                "no_users",
                f"Replica set {self.desired.name} has the members {', '.join(sorted(present))} and no users yet; it can be changed "
                "only after a login. Create the users first, then run this again.",
            )
        members = tuple(dataclasses.replace(wanted[host], id=number) for host, number in present.items())
        return Observed(name=status["set"], members=members, settings=self.desired.settings, health=self._health(status))

    def _health(self, status: Mapping[str, Any]) -> dict[str, Health]:
        """Return who is up, and who is at most ``max_lag`` seconds behind the newest write (or behind its own delay)."""
        dates = [one["optimeDate"] for one in status["members"] if one["state"] in DATA_STATES and one.get("optimeDate")]
        health = {}
        for one in status["members"]:
            host = canonical_host(one["name"])
            holds_data = one.get("health") == 1 and one["state"] in DATA_STATES
            lag = (max(dates) - one["optimeDate"]).total_seconds() if holds_data and dates else float("inf")
            up = holds_data or (one.get("health") == 1 and one["state"] == ARBITER)
            health[host] = Health(up=up, caught_up=lag <= self.max_lag + self.delays.get(host, 0))
        return health

    def _probes(self, present: set[str]) -> dict[str, Probe]:
        """Ask each host that is to join what it is now. In check mode a silent host may be one that is still to be installed."""
        probes = {}
        for member in self.desired.members:
            if member.host in present:
                continue
            try:
                hello = self.cluster.ask(member.host)
            except MongodbError as error:
                if not self.check_mode:
                    raise MongodbError("member_unreachable", f"{member.host} is to join the set: {error.message}") from None
                continue
            others = {canonical_host(host) for key in ("hosts", "passives") for host in hello.get(key, [])}
            ours = hello.get("setName") == self.desired.name and bool(others & present)
            me = canonical_host(hello["me"]) if hello.get("me") else None
            probes[member.host] = Probe(reachable=True, set_name=hello.get("setName"), knows_us=ours, me=me)
        return probes

    def _write_concern(self, link: Link, members: Sequence[Member]) -> dict[str, Any]:
        """Return the default write concern as fields of Observed, empty when it does not matter here."""
        arbiter = any(member.arbiter for member in (*members, *self.desired.members))
        if not self.reads_write_concern or not (arbiter or self.desired.write_concern is not None):
            return {}
        answer = link.command("getDefaultRWConcern")
        return {
            "write_concern": answer.get("defaultWriteConcern", {}).get("w", 1),
            "write_concern_set": answer.get("defaultWriteConcernSource") == "global",
        }

    def _initiate(self, step: Step) -> None:
        config: dict[str, Any] = {"_id": self.desired.name, "members": [member.document() for member in step.members]}
        if step.settings:
            config["settings"] = dict(step.settings)
        self.cluster.entry.command("replSetInitiate", config)
        self._until(lambda: self.cluster.primary_host() is not None, self.timeout, "no_primary", "the new set has no primary")
        self.cluster.refresh()

    def _reconfigure(self, step: Step) -> None:
        """Send a new configuration, built on the present one, and wait until the majority has it."""
        deadline = time.monotonic() + self.timeout
        while True:
            primary = self.cluster.primary()
            config = primary.command("replSetGetConfig")["config"]
            new = {**config, "version": config["version"] + 1, "members": [member.document() for member in step.members]}
            new["settings"] = {**config.get("settings", {}), **step.settings}
            try:
                primary.command("replSetReconfig", new, maxTimeMS=int(self.timeout * 1000))
                break
            except CommandError as error:
                if error.number not in BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)
        self._until(self._committed, self.timeout, "not_committed", "the new configuration has not reached the majority")

    def _committed(self) -> bool:
        return bool(self.cluster.primary().command("replSetGetConfig", commitmentStatus=True).get("commitmentStatus"))

    def _wait_up(self, step: Step) -> None:
        """Wait until a member that was renamed, or an arbiter that joined, takes part; then the next step can count on it."""
        members = {member.host: member for member in step.members}
        if step.action != "rename" and not (step.host in members and members[step.host].arbiter):
            return
        host = str(step.host)

        def is_up() -> bool:
            health = self._health(self.cluster.primary().command("replSetGetStatus")).get(host)
            return health is not None and health.up

        self._until(is_up, self.timeout, "not_up", f"{host} has not answered to the set under this name")

    def _wait_caught_up(self, host: str) -> None:
        def caught_up() -> bool:
            health = self._health(self.cluster.primary().command("replSetGetStatus")).get(host)
            return health is not None and health.caught_up

        self._until(caught_up, self.sync_timeout, "not_caught_up", f"{host} is not a secondary within {self.max_lag:g} s of the primary")

    def _wait_level(self, host: str) -> None:
        """Wait until a member has every write that the primary has now.

        A member that came back a moment ago has fresh writes too, and yet does not follow; being few seconds behind proves nothing.
        """

        def newest(of: Callable[[Mapping[str, Any]], bool]) -> Any:
            status = self.cluster.primary().command("replSetGetStatus")
            return max((one["optime"]["ts"] for one in status["members"] if of(one) and one.get("optime")), default=None)

        goal = newest(lambda one: one["state"] == 1)

        def level() -> bool:
            own = newest(lambda one: canonical_host(one["name"]) == host)
            return own is not None and (goal is None or own >= goal)

        self._until(level, self.sync_timeout, "not_caught_up", f"{host} does not follow the primary")

    def _step_down(self, host: str) -> None:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self.cluster.primary().command("replSetStepDown", STEP_DOWN_SECONDS, secondaryCatchUpPeriodSecs=HAND_OVER_SECONDS)
                break
            except CommandError as error:
                if error.number != EXCEEDED_TIME_LIMIT or time.monotonic() > deadline:
                    raise
            # Nobody may be elected for now: a successor that was stepped down a moment ago. Writes go on in the meantime.
            time.sleep(HAND_OVER_SECONDS)

        def handed_over() -> bool:
            known = self.cluster.primary_host()
            return known is not None and canonical_host(known) != host

        self._until(handed_over, self.timeout, "no_primary", f"{host} has stepped down and no other member became primary")

    def _until(self, condition: Any, seconds: float, code: str, what: str) -> None:
        """Wait for a condition; a connection lost on the way (an election) is no failure before the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except MongodbError as error:
                if error.code not in ("not_primary", "connection_lost", "not_running") or time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise MongodbError(code, f"After {seconds:g} s {what}. Look at its log; the next run goes on from here.")
            time.sleep(POLL_SECONDS)


def converge(replset: Replset, result: dict[str, Any], *, check_mode: bool) -> None:
    """Read, plan, do the first step, and begin again, until the plan is empty; ``result`` is filled as it goes."""
    unsure: Step | None = None
    for number in range(1000):
        observed, steps = replset.look()
        if number == 0:
            record(result, replset.desired, observed, steps)
        if unsure is not None and unsure.describe() not in [step.describe() for step in steps]:
            note(result, unsure)  # only its answer got lost
        if check_mode or not steps:
            break
        unsure = None if replset.carry_out(steps[0]) else steps[0]
        if unsure is None:
            note(result, steps[0])
    result["primary"] = replset.cluster.primary_host()


def note(result: dict[str, Any], step: Step) -> None:
    """Put a step that is done into the result."""
    result["steps_done"].append(step.describe())
    result["changed"] = result["changed"] or step.writes


def record(result: dict[str, Any], desired: Desired, observed: Observed, steps: list[Step]) -> None:
    """Put the plan and the diff into the result; in check mode ``changed`` is what the run would report."""
    last = next((step for step in reversed(steps) if step.members), None)
    members, settings = (last.members, last.settings) if last else (observed.members, observed.settings)
    concern = next((step.write_concern for step in steps if step.write_concern is not None), observed.write_concern)
    result["plan"] = [step.describe() for step in steps]
    result["diff"] = {
        "before": picture(desired.name, observed.members, observed.settings, observed.write_concern),
        "after": picture(desired.name, members, settings, concern),
    }


def refuse_options(params: Mapping[str, Any]) -> None:
    """Refuse options of community.mongodb whose effect would not be what their name says.

    :raises MongodbError: ``force_refused`` or ``bad_option``.
    """
    if params["force"]:
        raise MongodbError(
            "force_refused",
            "force: true is refused: it can undo writes that were acknowledged by the majority. If the majority is lost for good, "
            "use linda.ops.mongodb_replset_recover.",
        )
    if not params["reconfigure"]:
        raise MongodbError(
            "bad_option", "reconfigure: false is refused: a set is always brought to its description. Use check mode to look only."
        )
    for name in ("max_lag", "sync_timeout"):
        if params[name] < 1:
            raise MongodbError("bad_option", f"{name} = {params[name]} is not a number of seconds above 0.")


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    params = module.params
    refuse_options(params)
    desired = parse_desired(
        params["replica_set"],
        params["members"],
        {name: params[name] for name in SETTINGS},
        write_concern=params["default_write_concern"],
        arbiter_at_index=params["arbiter_at_index"],
        beyond_seven=params["beyond_seven"],
    )
    login = Login.from_params(params)
    try:
        with Cluster(login) as cluster:
            result["state"] = cluster.state
            replset = Replset(cluster, desired, params, check_mode=module.check_mode)
            result["state"] = cluster.state
            converge(replset, result, check_mode=module.check_mode)
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running"):
            raise
        result["state"] = error.code
        record(result, desired, Observed(), plan(desired, Observed()))
    if module.check_mode:
        result["changed"] = bool(result["plan"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "primary": None}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message + HINTS.get(error.code, ""), code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
