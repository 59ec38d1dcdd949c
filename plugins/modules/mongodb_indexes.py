#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the indexes of MongoDB collections as described."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_indexes
short_description: Keep the indexes of MongoDB collections as described
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares lists of indexes with the collections over one connection, one command for each collection, and creates, changes and removes
    what differs. A changed TTL, C(hidden) and C(unique) are changed in place (C(collMod)); all new indexes of a collection are built by one
    C(createIndexes), in one scan.
  - An index is told by what it is (keys in order, collation, filter, unique, sparse), then by its name. One that is there under another
    name is adopted as it is. What can only be changed by building anew is refused unless allowed; then another index stands in, and the
    old one goes last.
  - A build of the same index that is already under way is joined. A run that was killed is finished by the next one.
  - What deletes data or takes away a guarantee is refused unless it is allowed by name, see O(allow). C(_id_) is never touched.
options:
  collections:
    description:
      - The collections, each with C(database), C(collection) and C(indexes); and, where they differ from those of the module, C(unmanaged),
        C(soak) and C(allow).
      - >-
        An index has C(keys), a list such as C([{user_id: 1}, {created_at: -1}]) (or a mapping of one field; a mapping of several has no
        order and is refused), each field C(1), C(-1), C(text), C(2dsphere), C(2d) or C(hashed).
      - It may have C(name) (default MongoDB's own), C(unique), C(sparse), C(hidden), C(expire_after_seconds),
        C(partial_filter_expression), C(collation), C(wildcard_projection), C(weights), C(default_language), C(language_override),
        C(text_index_version), C(sphere_index_version), C(bits), C(min), C(max), C(storage_engine), C(state) (V(present) or V(absent)) and
        C(allow). MongoDB's own spelling (C(expireAfterSeconds)) and a mapping C(options), as with M(community.mongodb.mongodb_index), are
        understood, too. C(background) is accepted and means nothing, as with the server.
      - What is not given is the server's default; so an index described without C(hidden) is not hidden.
      - >-
        Dates and other values that JSON has no word for are written as extended JSON, such as C({$date: 2026-01-01T00:00:00Z}).
    type: list
    elements: dict
  indexes:
    description:
      - The same, as M(community.mongodb.mongodb_index) has it - each index with its own C(database) and C(collection).
    type: list
    elements: dict
  unmanaged:
    description:
      - What becomes of indexes of the described collections that nobody described. V(keep) leaves them and says nothing, V(report) names
        them in RV(unmanaged) and warns, V(hide) hides them from queries (they are still kept up to date, so showing them again costs
        nothing), V(drop) hides them and drops them when they have been hidden for O(soak).
    type: str
    default: keep
    choices: [keep, report, hide, drop]
  soak:
    description:
      - Least number of seconds between hiding and dropping. The server is asked since when an index has been hidden; a restart or an
        election may begin that time anew, never shorten it.
      - V(0) drops at once.
    type: int
    default: 604800
  allow:
    description:
      - What is otherwise refused, also to be given for one collection or one index.
      - V(rebuild) builds anew what cannot be changed in place, with another index standing in meanwhile.
      - V(rebuild_with_gap) does so also where nothing can stand in, as for a text index.
      - V(lower_ttl) lets documents expire that would have stayed; the refusal says how many about.
      - V(duplicates) accepts that a unique index is not unique yet, because documents with the same keys exist; no new ones are let in
        (C(prepareUnique), MongoDB 6.0), and a later run makes it unique.
      - V(drop_last_unique) and V(drop_shard_key_index) let the last index of these kinds go.
    type: list
    elements: str
    default: []
    choices: [drop_last_unique, drop_shard_key_index, duplicates, lower_ttl, rebuild, rebuild_with_gap]
  parallel:
    description:
      - How many collections are worked on at once. The server itself builds at most three indexes at a time for users.
    type: int
    default: 3
  commit_quorum:
    description:
      - How many members must be ready before a build counts as done (C(commitQuorum)), a number, V(majority) or V(votingMembers). The
        server's default, all voting members with data, waits for as long as one of them is down.
    type: str
  build_timeout:
    description:
      - Most seconds that one C(createIndexes) may take. A build that this run began is given up then; one that it joined goes on.
    type: int
  replica_set:
    description:
      - The name of the set the server must belong to. Not checked when not given.
    type: str
extends_documentation_fragment:
  - linda.ops.mongodb_login
notes:
  - The role C(dbAdmin) of the databases is enough for the indexes themselves. To count documents that would expire and to find duplicates
    before a build, the account has to read the collections; O(unmanaged=drop) and progress need C(clusterMonitor).
  - To build anew takes the time and the room of the index twice.
  - A mongos is refused. In a sharded cluster run it on each shard that holds the collections.
attributes:
  check_mode:
    support: full
    description: Reads and plans; no command that writes is sent.
  diff_mode:
    support: full
    description: Shows each index that changes before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
seealso:
  - module: linda.ops.mongodb_users
  - module: linda.ops.mongodb_replset
"""

EXAMPLES = r"""
- name: Indexes of two collections; what nobody described is hidden for a week and then dropped
  linda.ops.mongodb_indexes:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    unmanaged: drop
    collections:
      - database: linda
        collection: messages
        indexes:
          - keys: [{user_id: 1}, {created_at: -1}]
          - name: provider_message
            keys: {provider_message_id: 1}
            unique: true
            partial_filter_expression: {provider_message_id: {$exists: true}}
      - database: linda
        collection: sessions
        indexes:
          - keys: {last_seen: 1}
            expire_after_seconds: 86400
  run_once: true

- name: Keep sessions for an hour only; those that are older go now
  linda.ops.mongodb_indexes:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    indexes:
      - database: linda
        collection: sessions
        keys: {last_seen: 1}
        options: {name: last_seen_1, expireAfterSeconds: 3600}
        allow: [lower_ttl]
  run_once: true
"""

RETURN = r"""
state:
  description: What was found, as with M(linda.ops.mongodb_users).
  returned: success
  type: str
  sample: ready
plan:
  description: The commands from what was found to the description.
  returned: always
  type: list
  elements: dict
  sample:
    - action: modify_index
      database: linda
      collection: sessions
      indexes: [last_seen_1]
      reason: "linda.sessions: last_seen_1: expire_after_seconds 3600 -> 86400"
steps_done:
  description: The commands that were carried out, also when a later one failed. Collections that are worked on at once end in any order.
  returned: always
  type: list
  elements: dict
  sample: []
adopted:
  description: Described indexes that are there under another name, and stay so.
  returned: always
  type: list
  elements: dict
  sample: [{collection: linda.users, index: by_email, name: email_1}]
unmanaged:
  description: Indexes that nobody described, unless O(unmanaged=keep). C(drop_in) says in how many seconds one may be dropped.
  returned: always
  type: list
  elements: dict
  sample: [{collection: linda.users, name: old_1, keys: [{old: 1}], hidden: true, drop_in: 3600}]
pending:
  description: What has to wait, in sentences.
  returned: always
  type: list
  elements: str
  sample: []
progress:
  description: How far builds were that took long, every five seconds. The same goes to the system log while they run.
  returned: always
  type: list
  elements: dict
  sample: [{collection: linda.messages, done: 120000, total: 900000, seconds: 5}]
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(bad_index), V(duplicate_index), V(rebuild_not_allowed),
    V(rebuild_leaves_gap), V(lowers_ttl), V(duplicates), V(drops_last_unique), V(drops_shard_key_index), V(build_conflict), V(time_limit),
    V(index_conflict), V(not_a_collection), V(no_users), V(no_set) or those of the connection.
  returned: failure
  type: str
  sample: lowers_ttl
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import LOGIN_ARGUMENTS, LOGIN_TOGETHER, Cluster, Link, Login
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_plan import Found, Plan, Question, Step, draft, plan, questions
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_server import (
    Building,
    Work,
    answer,
    compatibility_version,
    observe,
    patient,
    settle,
    version_of,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_indexes_spec import (
    ALLOW,
    UNMANAGED,
    WEEK,
    Described,
    Namespace,
    parse_collections,
    parse_flat,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str"},
    "collections": {"type": "list", "elements": "dict"},
    "indexes": {"type": "list", "elements": "dict"},
    "unmanaged": {"type": "str", "default": "keep", "choices": list(UNMANAGED)},
    "soak": {"type": "int", "default": WEEK},
    "allow": {"type": "list", "elements": "str", "default": [], "choices": list(ALLOW)},
    "parallel": {"type": "int", "default": 3},
    "commit_quorum": {"type": "str"},
    "build_timeout": {"type": "int"},
}
# What a change of primary in the middle of the work looks like; the work is then begun again from what the servers say.
MOVED = ("not_primary", "connection_lost", "no_primary")
ATTEMPTS = 3
NEWEST = (8, 0)


def parse(params: dict[str, Any]) -> tuple[tuple[Described, ...], Building]:
    """Read the module's own options.

    :raises MongodbError: ``bad_index``, ``duplicate_index`` or ``bad_option``.
    """
    for name, low, high in (("parallel", 1, 16), ("soak", 0, 10 * 365 * 86400), ("build_timeout", 1, 9 * 86400)):
        if params[name] is not None and not low <= params[name] <= high:
            raise MongodbError("bad_option", f"{name} = {params[name]} is not in {low}..{high}.")
    word = params["commit_quorum"]
    if word is not None and not word.isdigit() and word not in ("majority", "votingMembers"):
        raise MongodbError("bad_option", f"commit_quorum = {word!r} is neither a number nor majority nor votingMembers.")
    quorum: str | int | None = int(word) if word and word.isdigit() else word
    reader = parse_flat if params["indexes"] is not None else parse_collections
    raw = params["indexes"] if params["indexes"] is not None else params["collections"]
    described = reader(raw, unmanaged=params["unmanaged"], soak=params["soak"], allow=params["allow"])
    return described, Building(params["parallel"], quorum, params["build_timeout"])


def decide(link: Link, described: Sequence[Described], version: tuple[int, int]) -> Plan:
    """Read the collections and plan; what the plan hangs on is asked only when there is something to decide."""
    found = observe(link, described)
    described = settle(link, described, found)
    answers: dict[Question, Any] = {}
    whole = draft(described, found, answers, version)
    if not whole.steps and not whole.refusals and not questions(described, found, answers, version):
        return whole
    version = min(version, compatibility_version(link) or version)
    while asked := questions(described, found, answers, version):
        answers.update({question: answer(link, question) for question in asked})
    return plan(described, found, answers, version)


def converge(cluster: Cluster, described: Sequence[Described], building: Building, result: dict[str, Any], module: AnsibleModule) -> None:
    """Read, plan, apply; begin again when the primary moves meanwhile. ``result`` is filled as it goes."""
    unsure: list[Step] = []

    def done(step: Step) -> None:
        unsure.remove(step)
        result["steps_done"].append(step.describe())
        result["changed"] = True

    for attempt in range(ATTEMPTS):
        try:
            link = cluster.primary()
            whole = decide(link, described, version_of(cluster.hello))
            if attempt == 0:
                record(result, whole)
            for step in [step for step in unsure if step not in whole.steps]:
                done(step)  # The server carried it out, only its answer got lost.
            if module.check_mode or not whole.steps:
                return
            unsure = list(whole.steps)
            if not cluster.hello.get("setName"):
                building = replace(building, quorum=None)
            with patient(link) as writer:
                Work(writer, building, done, module.log, result["progress"]).carry_out(whole.steps)
            return
        except MongodbError as error:
            if error.code not in MOVED or attempt == ATTEMPTS - 1:
                raise


def record(result: dict[str, Any], whole: Plan) -> None:
    """Put the plan, the diff and what is only to be said into the result."""
    result["plan"] = [step.describe() for step in whole.steps]
    result["diff"] = {"before": whole.before, "after": whole.after}
    result.update(adopted=whole.adopted, unmanaged=whole.unmanaged, pending=whole.pending)


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    described, building = parse(module.params)
    login = Login.from_params(module.params)
    nothing: dict[Namespace, Found] = {one.namespace: Found(exists=False) for one in described}
    try:
        with Cluster(login, lean=True) as cluster:
            result["state"] = cluster.state
            name = cluster.hello.get("setName")
            wanted = module.params["replica_set"]
            if wanted and name and wanted != name:
                raise MongodbError("wrong_set", f"{cluster.entry.host} belongs to replica set {name!r}, not {wanted!r}.")
            if cluster.state in ("no_set", "no_users"):
                raise MongodbError(
                    cluster.state, f"{cluster.entry.host} has no set or no users yet: mongodb_replset and mongodb_users first."
                )
            converge(cluster, described, building, result, module)
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running", "no_set", "no_users"):
            raise
        result["state"] = error.code
        record(result, plan(settle(None, described, nothing), nothing, {}, NEWEST))
    if module.check_mode:
        result["changed"] = bool(result["plan"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_together=LOGIN_TOGETHER,
        required_one_of=[("collections", "indexes")],
        mutually_exclusive=[("collections", "indexes")],
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "adopted": [], "unmanaged": [], "pending": [], "progress": []}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    if module.params["unmanaged"] == "report" and result["unmanaged"]:
        module.warn("Nobody described " + ", ".join(f"{one['collection']} {one['name']}" for one in result["unmanaged"]) + ".")
    for sentence in result["pending"]:
        module.warn(sentence)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
