#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module accounts: the people who may log in, as one list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: accounts
short_description: Keep the accounts of people as one list
version_added: 0.1.0
description:
  - Makes, changes and removes local accounts of people in one run, where a loop over M(ansible.builtin.user) costs a run for each.
  - Every account it makes or changes has no password; people log in with keys, which this module does not manage.
  - An account that is not listed is never touched. System accounts (uid below 1000) and the account that the run is logged in
    with are never removed.
options:
  accounts:
    description:
      - The accounts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Login name.
        type: str
        required: true
      comment:
        description: Who this is (the GECOS field). Neither a colon nor a line break can be in it.
        type: str
        default: ""
      shell:
        description: Login shell.
        type: path
        default: /bin/bash
      state:
        description:
          - V(absent) closes the account, ends its processes and removes it.
        type: str
        choices: [present, absent]
        default: present
      remove_home:
        description: With O(accounts[].state=absent), remove the home directory and the mail spool too.
        type: bool
        default: false
attributes:
  check_mode:
    description: Reports what would be changed without changing it.
    support: full
  diff_mode:
    description: Shows the listed accounts before and after, without secrets.
    support: full
  platform:
    description: Systems it runs on.
    platforms: debian
    support: full
author:
  - The linda.ops authors (@linda-ops)
"""

EXAMPLES = r"""
- name: Let Ada in, and Charles no longer
  linda.ops.accounts:
    accounts:
      - name: ada
        comment: Ada Lovelace
      - name: charles
        state: absent
"""

RETURN = r"""
plan:
  description: The steps from the host's accounts to the listed ones, in words.
  returned: always
  type: list
  elements: str
  sample: ["create ada", "close charles", "end the sessions of charles", "remove charles"]
steps_done:
  description: The steps that were carried out; empty in check mode.
  returned: always
  type: list
  elements: str
  sample: ["create ada"]
"""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._accounts_plan import (
    AccountsError,
    Found,
    Step,
    Wanted,
    describe,
    foresee,
    plan,
    read_accounts,
    read_groups,
)

ACCOUNT = {
    "name": {"type": "str", "required": True},
    "comment": {"type": "str", "default": ""},
    "shell": {"type": "path", "default": "/bin/bash"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "remove_home": {"type": "bool", "default": False},
}
ARGUMENTS = {"accounts": {"type": "list", "elements": "dict", "required": True, "options": ACCOUNT}}
#: Seconds that processes get to end by themselves, and then to be gone after SIGKILL.
PATIENCE = (3.0, 5.0)


def status_of(pid: str) -> dict[str, list[str]]:
    """Return the fields of /proc/PID/status as words; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {key: value.split() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def uids_of_ancestors() -> frozenset[int]:
    """Return the uids of this process and those it descends from: who the run is logged in with is among them."""
    uids: set[int] = set()
    pid = "self"
    while pid not in ("0", ""):
        status = status_of(pid)
        uids.update(int(uid) for uid in status.get("Uid", []))
        pid = (status.get("PPid") or [""])[0]
    return frozenset(uids)


def processes_of(uid: int) -> list[int]:
    """Return the process ids whose real or effective uid this is."""
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and str(uid) in status_of(pid).get("Uid", [])]


def end_processes(uid: int) -> None:
    """End an account's processes: SIGTERM, then SIGKILL. Raises AccountsError if one survives that."""
    for number, seconds in zip((signal.SIGTERM, signal.SIGKILL), PATIENCE, strict=True):
        for pid in processes_of(uid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + seconds
        while processes_of(uid):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    left = processes_of(uid)
    if left:
        raise AccountsError(f"processes {left} of uid {uid} do not end")


def carry_out(module: AnsibleModule, step: Step) -> None:
    """Do one step. Raises AccountsError with the tool's own words when it fails."""
    if step.end_processes_of is not None:
        if Path("/run/systemd/users", str(step.end_processes_of)).exists():
            # logind first: it would start the user's manager again. Without a result, the processes are ended all the same.
            module.run_command(["loginctl", "terminate-user", step.name])
        end_processes(step.end_processes_of)
        return
    code, _out, err = module.run_command(list(step.argv))
    if code != 0:
        raise AccountsError(f"{step.text}: {step.argv[0]} ended with {code}: {err.strip()}")


def observe() -> dict[str, Found]:
    """Read the host's accounts."""
    found = read_accounts(Path("/etc/passwd").read_text(encoding="utf-8"), Path("/etc/shadow").read_text(encoding="utf-8"))
    return {name: replace(account, home_missing=not os.path.isdir(account.home)) for name, account in found.items()}


def main() -> None:
    """Read, plan, apply, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = [Wanted.parse(account) for account in module.params["accounts"]]
    names = [account.name for account in wanted]
    done: list[str] = []
    steps: list[Step] = []
    try:
        before = observe()
        groups = read_groups(Path("/etc/group").read_text(encoding="utf-8"))
        steps = plan(wanted, before, groups, uids_of_ancestors())
        if not module.check_mode:
            for step in steps:
                carry_out(module, step)
                done.append(step.text)
    except (AccountsError, OSError) as error:
        module.fail_json(msg=str(error), plan=[step.text for step in steps], steps_done=done)
    diff = {
        "before_header": "accounts",
        "after_header": "accounts",
        "before": describe(before, names),
        "after": describe(foresee(wanted, before), names),
    }
    module.exit_json(changed=bool(steps), plan=[step.text for step in steps], steps_done=done, diff=diff)


if __name__ == "__main__":
    main()
