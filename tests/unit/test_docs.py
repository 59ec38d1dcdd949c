"""The READMEs repeat what the argument specifications say."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import docs

ROOT = Path(__file__).resolve().parents[2]


def test_every_table_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nested_options_secrets_and_defaults_are_shown() -> None:
    spec = yaml.safe_load("""
        argument_specs:
          main:
            options:
              x_password: {type: str, required: true, no_log: true, description: The password.}
              x_list:
                type: list
                elements: dict
                default: []
                description: [First., Second | third.]
                options: {port: {type: int, default: 443, description: The port.}}
    """)
    text = docs.table(spec)
    assert "| `x_password` | str, secret | **required** | The password. |" in text
    assert "| `x_list` | list of dict | `[]` | First. Second \\| third. |" in text
    assert "| `x_list[].port` | int | `443` | The port. |" in text


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        docs.updated("# role", {"argument_specs": {"main": {}}})
