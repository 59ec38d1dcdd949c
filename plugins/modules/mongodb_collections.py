#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the collections of a MongoDB cluster and their validators as described."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_collections
short_description: Keep the collections of a MongoDB cluster and their validators as described
version_added: 0.2.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Compares a list of collections with the cluster over one connection, creates those that are missing, and changes by C(collMod) what the
    server changes while it serves - validators, bounds of capped collections, the granularity of time series, expiry, images for change
    streams.
  - Before a validator becomes stricter, the documents that would not pass it are counted. With V(error) and V(strict) the change is
    refused while there are any, because every later update of such a document would fail.
  - What cannot be changed after creation is compared too, and a difference is refused with both values.
  - Nothing is ever dropped. Indexes are those of M(linda.ops.mongodb_indexes).
options:
  collections:
    description:
      - The collections. What each one is (O(collections[].capped), O(collections[].timeseries), O(collections[].clustered),
        O(collections[].collation)) is part of its description also where it is not mentioned - an ordinary collection.
    type: list
    elements: dict
    required: true
    suboptions:
      database:
        description: The database.
        type: str
        required: true
        aliases: [db]
      collection:
        description: The collection.
        type: str
        required: true
        aliases: [name]
      validator:
        description:
          - The query that documents must match, most often with C($jsonSchema). V({}) for none; when not given, it stays as it is.
          - The order of the keys in a mapping does not count.
        type: dict
      validation_level:
        description:
          - Which writes are judged - V(strict) all of them, V(moderate) not the updates of documents that do not pass already, V(off)
            none. Together with O(collections[].validator); V(strict) when not given.
        type: str
        choices: ["off", moderate, strict]
      validation_action:
        description:
          - Whether a write that does not pass is refused (V(error)) or only logged (V(warn)). Together with
            O(collections[].validator); V(error) when not given.
        type: str
        choices: [error, warn]
      capped:
        description: Makes a capped collection. Its bounds can be changed from MongoDB 6.0 on.
        type: dict
        suboptions:
          size:
            description: Bytes it may hold; the server rounds up to a multiple of 256.
            type: int
            required: true
          max:
            description: Documents it may hold; no bound when not given.
            type: int
      timeseries:
        description: Makes a time series collection.
        type: dict
        suboptions:
          time_field:
            description: The field with the time.
            type: str
            required: true
          meta_field:
            description: The field that tells the series apart.
            type: str
          granularity:
            description: How far apart measurements of one series are. It can only become coarser.
            type: str
            default: seconds
            choices: [seconds, minutes, hours]
      clustered:
        description: Makes a clustered collection (ordered by C(_id) on disk), from MongoDB 5.3 on.
        type: dict
        suboptions:
          name:
            description: Name of the clustered index; the server's default when not given.
            type: str
      expire_after_seconds:
        description:
          - Seconds after which documents of a time series or clustered collection are deleted, V(-1) for never. When not given, it stays
            as it is.
        type: int
      collation:
        description: The collation of the collection, in the server's own names (C(locale), C(strength), ...).
        type: dict
      pre_and_post_images:
        description:
          - Whether change streams can show documents before and after a change, from MongoDB 6.0 on. When not given, it stays as it is.
        type: bool
      allow:
        description: As O(allow), for this collection.
        type: list
        elements: str
        choices: [invalid_documents, lower_expiry, shrink_capped]
        default: []
  unmanaged:
    description:
      - What to do about collections of the described databases that are not described. V(report) lists them in RV(unmanaged) with a
        warning, V(keep) says nothing.
    type: str
    default: keep
    choices: [keep, report]
  allow:
    description:
      - Acts that are refused otherwise. V(invalid_documents) enforces a validator while documents are stored that do not pass it,
        V(lower_expiry) and V(shrink_capped) delete documents.
    type: list
    elements: str
    choices: [invalid_documents, lower_expiry, shrink_capped]
    default: []
  count_timeout:
    description:
      - Seconds that counting the documents of one collection may take. When it takes longer, the number is taken as unknown, and a
        validator with V(error) is refused.
    type: int
    default: 30
  replica_set:
    description:
      - The name of the set the server must belong to. Not checked when not given.
    type: str
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads, counts and plans; no command that writes is sent.
  diff_mode:
    support: full
    description: Shows the described collections before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
seealso:
  - module: linda.ops.mongodb_indexes
"""

EXAMPLES = r"""
- name: Messages with a validator, events of thirty days, and a bounded log
  linda.ops.mongodb_collections:
    login_host: mongo1.example.com
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    collections:
      - database: linda
        collection: messages
        validator:
          $jsonSchema:
            bsonType: object
            required: [user_id, created_at]
            properties:
              user_id: {bsonType: string}
              created_at: {bsonType: date}
      - database: linda
        collection: events
        timeseries:
          time_field: at
          meta_field: source
          granularity: minutes
        expire_after_seconds: 2592000
      - database: linda
        collection: audit
        capped:
          size: 104857600
    unmanaged: report
  run_once: true
  delegate_to: localhost

- name: Look how many documents a new validator would object to, without enforcing it yet
  linda.ops.mongodb_collections:
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    collections:
      - database: linda
        collection: users
        validator:
          phone: {$type: string}
        validation_action: warn
  check_mode: true
"""

RETURN = r"""
state:
  description: >-
    What was found: V(not_running), V(no_driver), V(no_set) or V(no_users) (check mode only), V(standalone) or V(ready).
  returned: success
  type: str
  sample: ready
plan:
  description: The commands from what was found to the description.
  returned: always
  type: list
  elements: dict
  sample:
    - action: modify_collection
      database: linda
      collection: messages
      reason: change validator of linda.messages
steps_done:
  description: The commands that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
counted:
  description: >-
    What was counted before a stricter validator (V(invalid)) or a shorter expiry (V(expiring)): the number of documents, null when it
    took longer than O(count_timeout).
  returned: always
  type: list
  elements: dict
  sample:
    - what: invalid
      collection: linda.messages
      documents: 3
unmanaged:
  description: Collections of the described databases that are not described, with O(unmanaged=report).
  returned: success
  type: list
  elements: str
  sample: [linda.old_messages]
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(bad_database), V(bad_collection), V(bad_option),
    V(bad_validator), V(duplicate_collection), V(wrong_kind), V(read_only_property), V(invalid_documents), V(count_timed_out),
    V(lowers_expiry), V(shrinks_capped), V(server_too_old), V(no_set), V(no_users) or V(not_running).
  returned: failure
  type: str
  sample: invalid_documents
"""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_collections_plan import (
    Existing,
    Observed,
    Plan,
    Question,
    Step,
    picture,
    plan,
    questions,
    unmanaged,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_collections_spec import (
    ACTIONS,
    ALLOW,
    GRANULARITIES,
    LEVELS,
    Collection,
    Namespace,
    parse_collections,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    MAJORITY,
    Cluster,
    CommandError,
    Link,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

# The server's number for "this took longer than maxTimeMS".
TIME_LIMIT_EXCEEDED = 50
# More than a database can have; the answer ends with the last one.
ONE_BATCH = 1_000_000
ALLOWING: dict[str, Any] = {"type": "list", "elements": "str", "choices": list(ALLOW), "default": []}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str"},
    "collections": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "database": {"type": "str", "required": True, "aliases": ["db"]},
            "collection": {"type": "str", "required": True, "aliases": ["name"]},
            "validator": {"type": "dict"},
            "validation_level": {"type": "str", "choices": list(LEVELS)},
            "validation_action": {"type": "str", "choices": list(ACTIONS)},
            "capped": {"type": "dict", "options": {"size": {"type": "int", "required": True}, "max": {"type": "int"}}},
            "timeseries": {
                "type": "dict",
                "options": {
                    "time_field": {"type": "str", "required": True},
                    "meta_field": {"type": "str"},
                    "granularity": {"type": "str", "default": "seconds", "choices": list(GRANULARITIES)},
                },
            },
            "clustered": {"type": "dict", "options": {"name": {"type": "str"}}},
            "expire_after_seconds": {"type": "int"},
            "collation": {"type": "dict"},
            "pre_and_post_images": {"type": "bool"},
            "allow": ALLOWING,
        },
    },
    "unmanaged": {"type": "str", "default": "keep", "choices": ["keep", "report"]},
    "allow": ALLOWING,
    "count_timeout": {"type": "int", "default": 30},
}


def observe(link: Link, desired: Sequence[Collection], wire_version: int, seconds: int) -> Observed:
    """Read the described databases, one command each, and count what the plan depends on."""
    found: dict[Namespace, Existing] = {}
    for database in dict.fromkeys(collection.database for collection in desired):
        for document in listing(link, database):
            found[(database, str(document["name"]))] = Existing.from_server(document)
    observed = Observed(found, wire_version)
    asked = questions(desired, observed)
    return replace(observed, counts={(one.what, one.collection.key): count(link, one, found, seconds) for one in asked})


def listing(link: Link, database: str) -> list[dict[str, Any]]:
    """Return what the server says about every collection of a database, in one batch."""
    cursor = link.command("listCollections", database=database, cursor={"batchSize": ONE_BATCH})["cursor"]
    if cursor["id"]:
        raise MongodbError("command_failed", f"{link.host}: the collections of {database} do not fit into one answer of the server.")
    return list(cursor["firstBatch"])


def count(link: Link, question: Question, found: dict[Namespace, Existing], seconds: int) -> int | None:
    """Count the documents that a question is about; None when that takes longer than ``seconds``."""
    collection = question.collection
    if question.what == "invalid":
        query: dict[str, Any] = {"$nor": [collection.validator]}
    else:
        series = found[collection.key].timeseries
        oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=collection.expire_after or 0)
        query = {series.time_field if series else "_id": {"$lt": oldest}}
    try:
        answer = link.command("count", collection.name, database=collection.database, query=query, maxTimeMS=seconds * 1000)
    except CommandError as error:
        if error.number != TIME_LIMIT_EXCEEDED:
            raise
        return None
    return int(answer["n"])


def carry_out(link: Link, step: Step) -> None:
    """Send the one command of a step and wait until the majority has it."""
    command = {"create_collection": "create", "modify_collection": "collMod"}[step.action]
    link.command(command, step.collection.name, database=step.collection.database, **step.fields, writeConcern=MAJORITY)


def record(result: dict[str, Any], desired: Sequence[Collection], observed: Observed, planned: Plan) -> None:
    """Put the plan and the diff into the result."""
    before, after = picture(desired, observed, planned.steps)
    result["plan"] = [step.describe() for step in planned.steps]
    result["diff"] = {"before": before, "after": after}


def converge(module: AnsibleModule, cluster: Cluster, desired: Sequence[Collection], result: dict[str, Any]) -> None:
    """Read, plan, apply. ``result`` is filled as it goes."""
    if cluster.state in ("no_set", "no_users"):
        if not module.check_mode:
            raise MongodbError(cluster.state, f"{cluster.entry.host} has no replica set or no users yet: make them first (role mongodb).")
        record(result, desired, Observed({}), plan(desired, Observed({})))
        return
    link = cluster.primary()
    observed = observe(link, desired, int(cluster.hello.get("maxWireVersion", 0)), module.params["count_timeout"])
    result["counted"] = [
        {"what": what, "collection": ".".join(key), "documents": number} for (what, key), number in observed.counts.items()
    ]
    planned = plan(desired, observed)
    record(result, desired, observed, planned)
    for warning in planned.warnings:
        module.warn(warning)
    if module.params["unmanaged"] == "report":
        result["unmanaged"] = unmanaged(desired, observed)
        if result["unmanaged"]:
            module.warn(f"Not described, and left alone: {', '.join(result['unmanaged'])}.")
    for step in () if module.check_mode else planned.steps:
        carry_out(link, step)
        result["steps_done"].append(step.describe())
        result["changed"] = True


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    if module.params["count_timeout"] < 1:
        raise MongodbError("bad_option", f"count_timeout = {module.params['count_timeout']} is not a number of seconds above 0.")
    desired = parse_collections(module.params["collections"], module.params["allow"])
    login = Login.from_params(module.params)
    try:
        with Cluster(login) as cluster:
            result["state"] = cluster.state
            name = cluster.hello.get("setName")
            wanted = module.params["replica_set"]
            if wanted and name and wanted != name:
                raise MongodbError("wrong_set", f"{cluster.entry.host} belongs to replica set {name!r}, not {wanted!r}.")
            converge(module, cluster, desired, result)
    except MongodbError as error:
        if not module.check_mode or error.code not in ("no_driver", "not_running"):
            raise
        result["state"] = error.code
        record(result, desired, Observed({}), plan(desired, Observed({})))
    if module.check_mode:
        result["changed"] = bool(result["plan"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "counted": [], "unmanaged": []}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
