#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give a MongoDB replica set a majority again when most of its voters are lost for good."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_replset_recover
short_description: Force a MongoDB replica set to the members that survived
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - For one case only. So many voters are lost for good that the others can elect nobody, and the set takes no writes. It saves the
    old configuration, forces a new one with the survivors, waits for a primary, and says which writes may be lost.
  - As long as there is a primary, or a majority of the voters answers, it refuses. Then M(linda.ops.mongodb_replset) loses nothing.
  - A run that died is finished by the next one. On a set that consists of the survivors and has a primary it does nothing.
  - Keep the lost members from starting until the survivors have a primary. Move their data paths aside, since a server that had
    acknowledged a write which the survivors lack cannot undo it and stops. Then add them again with M(linda.ops.mongodb_replset). The
    runbook C(docs/runbooks/mongodb_lost_majority.md) goes through it with real output.
options:
  replica_set:
    description: The name of the set.
    type: str
    required: true
  survivors:
    description:
      - The members (C(host[:port]) as in the configuration of the set) that remain. All that still answer must be listed, and all that
        are listed must answer. O(login_host) is one of them.
    type: list
    elements: str
    required: true
  backup_file:
    description:
      - Where the old configuration is written, as JSON with mode 0600, on the machine where the module runs. Its directory must exist.
      - A file that holds this very version of the configuration is taken as saved; any other existing file is refused.
    type: path
    required: true
  confirm:
    description: The name of the set, typed once more. In check mode it may be left out.
    type: str
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads, plans and reports what may be lost; writes no file and sends no command that writes.
  diff_mode:
    support: full
    description: Shows the configuration of the set before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the survivors can be reached.
seealso:
  - module: linda.ops.mongodb_replset
"""

EXAMPLES = r"""
- name: Show what a recovery would do and which writes it may lose (with --check)
  linda.ops.mongodb_replset_recover:
    login_host: mongo1.example.net
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    replica_set: rs0
    survivors: [mongo1.example.net]
    backup_file: /root/rs0-before-recovery.json
  delegate_to: localhost
  run_once: true
  check_mode: true

- name: Two of three machines burnt down; go on with the third
  linda.ops.mongodb_replset_recover:
    login_host: mongo1.example.net
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    replica_set: rs0
    survivors: [mongo1.example.net]
    backup_file: /root/rs0-before-recovery.json
    confirm: rs0
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
state:
  description: What was found. V(majority_lost), V(no_primary) (the set consists of the survivors, who still elect) or V(ready).
  returned: success
  type: str
  sample: majority_lost
plan:
  description: The steps. C(action) is C(save), C(force_reconfigure) or C(wait_primary).
  returned: always
  type: list
  elements: dict
  sample:
    - action: force_reconfigure
      host:
      reason: force rs0 to mongo1.example.net:27017, without mongo2.example.net:27017, mongo3.example.net:27017
steps_done:
  description: The steps that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
rollback:
  description: Which writes may be lost, as far as the survivor that was asked can tell.
  returned: success
  type: dict
  contains:
    kept_until:
      description: The time of the newest write that a survivor has.
      type: str
    committed_until:
      description: The time of the newest write that the survivor knew to be with the majority.
      type: str
    lost_members:
      description: The members that are left out, each with the newest write that the survivor had heard of.
      type: list
      elements: dict
    message:
      description: The same in a sentence.
      type: str
  sample:
    kept_until: "2026-11-23T08:36:09.548+00:00"
    committed_until: "2026-11-23T08:36:09.548+00:00"
    lost_members:
      - host: mongo2.example.net:27017
        last_write_seen: "2026-11-23T08:36:08.514+00:00"
    message: The survivors have all writes up to 2026-11-23T08:36:09.548+00:00.
primary:
  description: The primary at the end, V(null) in check mode.
  returned: success
  type: str
  sample: mongo1.example.net:27017
code:
  description: >-
    What went wrong, in one word that stays the same between releases - V(not_confirmed), V(majority_reachable), V(survivor_down),
    V(survivor_left_out), V(unknown_member), V(entry_not_survivor), V(no_electable_member), V(backup_exists), V(bad_backup_file),
    V(no_primary), or one of the connection.
  returned: failure
  type: str
  sample: majority_reachable
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    POLL_SECONDS,
    Cluster,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_recover_plan import (
    Sight,
    Situation,
    Step,
    at_risk,
    parse_survivors,
    plan,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_replset_spec import Member, canonical_host, picture

# Without the driver the connection fails first, and says what is missing.
with contextlib.suppress(ImportError):
    from bson import json_util

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str", "required": True},
    "survivors": {"type": "list", "elements": "str", "required": True},
    "backup_file": {"type": "path", "required": True},
    "confirm": {"type": "str"},
}
# Long enough for a machine that is slow, and not for one that is gone.
ANSWER_SECONDS = 5
PRIMARY = 1


class Recovery:
    """A replica set without a majority, seen from one survivor."""

    def __init__(self, cluster: Cluster, params: Mapping[str, Any]) -> None:
        self.cluster = cluster
        self.name = str(params["replica_set"])
        self.file = Path(params["backup_file"])
        self.timeout = float(params["timeout"])
        self.config: dict[str, Any] = {}

    def observe(self) -> Situation:
        """Read the configuration, ask every member, and look at the backup file."""
        if self.cluster.state != "ready":
            raise MongodbError(
                "wrong_server", f"{self.cluster.entry.host} is in state {self.cluster.state}: nothing can be recovered there."
            )
        link = self.cluster.member
        self.config = link.command("replSetGetConfig")["config"]
        if self.config["_id"] != self.name:
            raise MongodbError("wrong_set", f"{link.host} belongs to replica set {self.config['_id']!r}, not {self.name!r}.")
        status = link.command("replSetGetStatus")
        heard = {canonical_host(one["name"]): one for one in status["members"]}
        return Situation(
            name=self.name,
            entry=next(host for host, one in heard.items() if one.get("self")),
            members=tuple(Member.from_document(document) for document in self.config["members"]),
            sights={host: self._sight(host, one) for host, one in heard.items()},
            version=int(self.config["version"]),
            saved=self._saved(),
            committed=status["optimes"].get("lastCommittedWallTime"),
        )

    def carry_out(self, step: Step) -> None:
        """Carry out one step and return when it is done."""
        if step.action == "save":
            self._save()
        elif step.action == "force_reconfigure":
            new = {**self.config, "version": self.config["version"] + 1, "members": [member.document() for member in step.members]}
            self.cluster.member.command("replSetReconfig", new, force=True)
        else:
            self._wait_primary()

    def _sight(self, host: str, heard: Mapping[str, Any]) -> Sight:
        """Put together what the survivor hears of a member and what it answers to us: either is enough to count as alive."""
        newest: datetime | None = heard.get("lastAppliedWallTime")
        if heard.get("self"):
            return Sight(answers=True, primary=heard["state"] == PRIMARY, newest=newest)
        hello = self._ask(host)
        primary = heard["state"] == PRIMARY or bool((hello or {}).get("isWritablePrimary"))
        return Sight(answers=hello is not None or heard.get("health") == 1, primary=primary, newest=newest)

    def _ask(self, host: str) -> dict[str, Any] | None:
        """Return what a member says to hello, None when it is silent. A port that is closed or filtered is silent."""
        address = self.cluster.address_of(host)
        if address is None:
            return None
        name, _colon, port = address.rpartition(":")
        try:
            socket.create_connection((name.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
            return self.cluster.ask(address)
        except (OSError, MongodbError):
            return None

    def _saved(self) -> tuple[str, int] | None:
        """Return name and version of the configuration in the backup file."""
        if not self.file.parent.is_dir():
            raise MongodbError("bad_backup_file", f"backup_file = {self.file}: its directory does not exist.")
        try:
            found = json.loads(self.file.read_text())
            return str(found["_id"]), int(found["version"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MongodbError("backup_exists", f"backup_file = {self.file} exists and is no saved configuration ({error}).") from None

    def _save(self) -> None:
        """Write the configuration, complete or not at all, readable by the owner only; never over another file."""
        part = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(json_util.dumps(self.config, json_options=json_util.RELAXED_JSON_OPTIONS, indent=2) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.link(part, self.file)
        except OSError as error:
            raise MongodbError("bad_backup_file", f"backup_file = {self.file}: {error.strerror}.") from None
        finally:
            part.unlink()

    def _wait_primary(self) -> None:
        """Wait until the survivors have elected one of them and the majority of them has the new configuration."""
        deadline = time.monotonic() + self.timeout
        while True:
            if self.cluster.primary().command("replSetGetConfig", commitmentStatus=True).get("commitmentStatus"):
                return
            if time.monotonic() > deadline:
                raise MongodbError("no_primary", f"After {self.timeout:g} s the survivors have not agreed on the new configuration.")
            time.sleep(POLL_SECONDS)


def state_of(steps: list[Step]) -> str:
    """Return the state in one word, from what is to be done."""
    if not steps:
        return "ready"
    return "no_primary" if len(steps) == 1 else "majority_lost"


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    params = module.params
    survivors = parse_survivors(params["replica_set"], params["survivors"], params["confirm"], check_mode=module.check_mode)
    with Cluster(Login.from_params(params)) as cluster:
        recovery = Recovery(cluster, params)
        situation = recovery.observe()
        steps = plan(survivors, situation)
        result["state"] = state_of(steps)
        result["plan"] = [step.describe() for step in steps]
        result["rollback"] = at_risk(survivors, situation)
        after = next((step.members for step in steps if step.members), situation.members)
        settings = recovery.config.get("settings", {})
        result["diff"] = {
            "before": picture(situation.name, situation.members, settings),
            "after": picture(situation.name, after, settings),
        }
        for step in [] if module.check_mode else steps:
            recovery.carry_out(step)
            result["steps_done"].append(step.describe())
            result["changed"] = result["changed"] or step.action != "wait_primary"
        if module.check_mode:
            result["changed"] = any(step.action != "wait_primary" for step in steps)
        else:
            result["primary"] = cluster.primary_host()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "primary": None}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
