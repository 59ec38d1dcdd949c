"""The example inventories are whole: every input of every role is good, every host is described. Controller only."""

import subprocess
from pathlib import Path

import pytest

from tests.support.ansible import PLAYBOOK, ROOT, Lab

EXAMPLES = ROOT / "inventories" / "example"


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_describing_the_example_finds_nothing_wrong(environment: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(PLAYBOOK),
            f"--inventory={EXAMPLES / environment}",
            f"--vault-password-file={EXAMPLES / 'vault_password'}",
            str(ROOT / "playbooks" / "describe.yml"),
        ],
        cwd=tmp_path,
        env=Lab("none").environment(ROOT),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 hosts, no change" in done.stdout


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_secrets_of_the_example_are_encrypted(environment: str) -> None:
    vault = EXAMPLES / environment / "group_vars" / "all" / "vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
