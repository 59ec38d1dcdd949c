"""Secrets of a lab: made once, kept in a file that Ansible Vault encrypts."""

import base64
import os
import secrets
from pathlib import Path
from typing import Any

import yaml

from .errors import LabError
from .state import State, write

_HEADER = "---\n"


def _password() -> str:
    return secrets.token_urlsafe(24)


def _keyfile() -> str:
    return base64.b64encode(os.urandom(756)).decode()


_MAKERS = {
    "certificates_ca_passphrase": _password,
    "mongodb_admin_password": _password,
    "mongodb_application_password": _password,
    "mongodb_backup_password": _password,
    "mongodb_keyfile": _keyfile,
    "mongodb_monitor_password": _password,
}


def ensure(state: State) -> None:
    """Make the vault password and the vaulted secrets that are missing; those that exist stay."""
    if not state.vault_password.is_file():
        write(state.vault_password, _password() + "\n")
    vault = _vault(state.vault_password.read_text(encoding="utf-8").strip())
    path = state.inventory / "group_vars" / "all" / "vault.yml"
    values = _read(vault, path, state)
    missing = {name: make for name, make in _MAKERS.items() if name not in values}
    if missing:
        values |= {name: make() for name, make in missing.items()}
        text = _HEADER + yaml.safe_dump(values, width=4096)
        write(path, vault.encrypt(text).decode())


def _vault(password: str) -> Any:
    """Ansible's vault with this password. Imported here because importing Ansible takes longer than most commands of the lab."""
    from ansible.parsing.vault import VaultLib, VaultSecret

    return VaultLib([("default", VaultSecret(password.encode()))])


def _read(vault: Any, path: Path, state: State) -> dict[str, str]:
    from ansible.errors import AnsibleError

    if not path.is_file():
        return {}
    try:
        values = yaml.safe_load(vault.decrypt(path.read_text(encoding="utf-8")))
    except AnsibleError as error:
        raise LabError(
            f"{path} cannot be decrypted with {state.vault_password}.",
            f"If the lab need not keep its data, run lab down --name {state.name} --purge and start anew.",
        ) from error
    return {str(name): str(value) for name, value in (values or {}).items()}
