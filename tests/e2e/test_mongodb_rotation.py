"""The application's password in MongoDB is replaced under traffic, also when the controller dies on the way.

The fleet is the one that test_site.py brought up. Afterwards its inventory would take the accounts back, so nothing comes after this file.
"""

import json
import random
import secrets
import subprocess
import time
from pathlib import Path

import pymongo
import pytest
import yaml
from pymongo.errors import OperationFailure

from tests.support.ansible import PLAYBOOK, ROOT, Lab
from tests.support.client import Answer, Edge, Load, key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROTATE = "playbooks/rotate_mongodb_password.yml"
# The fleet has hosts enough: an edge that leaves one out for some seconds has others.
QUICK = ("-e", "rotation_settle_seconds=1")


def can_log_in(fleet: Lab, user: str, password: str) -> bool:
    """Whether a member, whichever answers, knows the account with this password."""
    hosts = yaml.safe_load((fleet.inventory / "hosts.yml").read_text())["all"]
    addresses = [hosts["hosts"][name]["ansible_host"] for name in hosts["children"]["mongodb"]["hosts"]]
    options = {"tls": True, "tlsCAFile": str(fleet.state / "ca" / "ca.pem"), "directConnection": True, "authSource": "admin"}
    with pymongo.MongoClient(addresses[0], username=user, password=password, **options) as client:
        try:
            client.admin.command("ping")
        except OperationFailure as error:
            if error.code != 18:
                raise
            return False
    return True


def present_password(fleet: Lab) -> str:
    """The application's password as the lab's vault has it."""
    vault = fleet.inventory / "group_vars" / "all" / "vault.yml"
    argv = [str(PLAYBOOK.with_name("ansible-vault")), "view", f"--vault-password-file={fleet.state / 'vault_password'}", str(vault)]
    shown = subprocess.run(argv, cwd=ROOT, env=fleet.environment(ROOT), capture_output=True, text=True, check=True).stdout
    return str(yaml.safe_load(shown)["mongodb_application_password"])


def test_the_password_is_replaced_while_the_application_works(fleet: Lab, edge: Edge, tmp_path: Path) -> None:
    old, new = present_password(fleet), secrets.token_urlsafe(24)
    (tmp_path / "new.json").write_text(json.dumps({"mongodb_application_user": "linda_next", "mongodb_application_password": new}))
    fresh = ("-e", f"@{tmp_path / 'new.json'}", *QUICK)
    assert can_log_in(fleet, "linda", old)
    again: list[Answer] = []

    def write(number: int) -> Answer:
        """A client as the interface asks for: the same key again while there is no answer that counts."""
        chosen, door, end = key(), list(edge.addresses)[number % len(edge.addresses)], time.monotonic() + 5
        while True:
            answer = edge.request(door, "POST", "/v1/messages", {"text": f"message {number}"}, {"Idempotency-Key": chosen})
            if answer.status in (200, 201) or time.monotonic() > end:
                return answer
            again.append(answer)

    with Load(write, threads=2, limit=500) as load:
        delay = random.SystemRandom().uniform(0, 8)
        ended = fleet.run_and_kill(ROTATE, ["Know the platform of every host", "application on api"], delay, *fresh)
        assert ended in (None, 0), f"it failed by itself before it was killed {delay:.1f} s into phase 2"
        there = fleet.run(ROTATE, *fresh)
        assert there.returncode == 0, f"killed {delay:.1f} s into phase 2\n{there.output}"
    assert [can_log_in(fleet, "linda_next", new), can_log_in(fleet, "linda", old)] == [True, False], "the old account is gone"
    assert new not in there.output
    assert old not in there.output
    refused = [answer for _at, _number, answer in load.answers if answer.status not in (200, 201)]
    assert refused == [], f"{len(refused)} of {len(load.answers)} writes failed for 5 s: {refused[:3]}"
    assert len(again) <= len(load.answers) / 50, f"{len(again)} of {len(load.answers)} writes needed another try: {again[:3]}"
    for message in random.SystemRandom().sample([answer.json() for _at, _number, answer in load.answers], 20):
        assert edge.request(next(iter(edge.addresses)), "GET", f"/v1/messages/{message['id']}").json() == message
