#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module linda.ops.python_release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_release
short_description: Build a release of a Python package in a virtual environment, whole or not at all
version_added: 0.1.0
description:
  - Builds C(path/venv) from a wheelhouse, a directory of wheels with a C(requirements.txt) that pins every package with its hash.
    Nothing comes from a package index, and no package is compiled.
  - A virtual environment cannot be moved, so it is built where it stays. A record that is written last makes it a release; what a run left
    that was interrupted is never taken for one, and is built anew.
  - A finished release is never changed. If something has changed, it needs a new version.
  - Needs Python's C(venv) on the host (Debian's package C(python3-venv)).
options:
  path:
    description: Directory of the release. Its parents are created.
    type: path
    required: true
  package:
    description: Name of the package.
    type: str
    required: true
  version:
    description: Version of the package.
    type: str
    required: true
  wheelhouse_url:
    description: >-
      Where wheelhouses are served by HTTP or HTTPS. The one of a version is C(wheelhouse_url/version/): a page with links to the wheels,
      and C(requirements.txt).
    type: str
    required: true
  command:
    description: A command that the package installs. A release without it is refused.
    type: str
    required: true
  python:
    description: Interpreter that makes the virtual environment.
    type: path
    default: /usr/bin/python3
  ca_file:
    description: Certificate authority by which an HTTPS wheelhouse is judged, in place of the system's.
    type: path
  requirements_sha256:
    description: SHA-256 that C(requirements.txt) must have. With it, an HTTP wheelhouse is as good as an HTTPS one.
    type: str
  state:
    description:
      - V(present) builds the release unless it is there.
      - V(available) changes nothing. It fails when the release is neither there nor to be had.
    type: str
    choices: [present, available]
    default: present
attributes:
  check_mode:
    support: full
    description: Asks whether the wheelhouse has the release, and builds nothing.
  diff_mode:
    support: full
    description: Shows the record of the release.
  platform:
    support: full
    description: Runs on hosts with a POSIX file system.
    platforms: posix
author:
  - The linda.ops authors (@linda)
"""

EXAMPLES = r"""
- name: Build a release beside the one that is running
  linda.ops.python_release:
    path: /opt/shop-api/releases/1.4.0
    package: shop-api
    version: 1.4.0
    command: shop-api
    wheelhouse_url: https://packages.example.com/wheelhouse/shop-api
"""

RETURN = r"""
complete:
  description: Whether the release was there and finished before this run.
  returned: success
  type: bool
  sample: false
record:
  description: What the finished release says about itself; empty while it is not there.
  returned: success
  type: dict
  sample:
    package: shop-api
    version: 1.4.0
    python: "3.13"
    requirements_sha256: 5f0e3c1d5bb8a40f7ce7dc8d7e4fa0d3ba77d9fbd0f6a3a5bbf3d1a2c9c4a7e1
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils import _python_release as release

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "package": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "wheelhouse_url": {"type": "str", "required": True},
    "command": {"type": "str", "required": True},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "ca_file": {"type": "path"},
    "requirements_sha256": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "available"], "default": "present"},
}


def main() -> None:
    """Look, fetch, build, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = dict(module.params)
    state, path = params.pop("state"), Path(params.pop("path"))
    if not path.is_absolute() or len(path.parts) < 3 or ".." in path.parts:
        module.fail_json(msg=f"path: {path} is not an absolute path below a directory of its own")
    if not params["wheelhouse_url"].startswith(("http://", "https://")):
        module.fail_json(msg=f"wheelhouse_url: {params['wheelhouse_url']} is neither http:// nor https://")
    wanted = release.Wanted(path=path, **params)

    def run(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        code, out, err = module.run_command(list(argv), environ_update=dict(environment), cwd="/")
        return code, out + err

    # The service's account, which is not the one that builds, reads all of it.
    os.umask(0o022)
    try:
        before = after = release.find(wanted)
        if before is None:
            requirements = release.fetch_requirements(wanted)
            if state == "present" and not module.check_mode:
                after = release.build(wanted, requirements, run)
    except (release.ReleaseError, OSError) as error:
        module.fail_json(msg=f"{wanted.package} {wanted.version}: {error}")
    changed = before is None and state == "present"
    shown = {"package": wanted.package, "version": wanted.version} if module.check_mode and changed else release.describe(after)
    module.exit_json(
        changed=changed,
        complete=before is not None,
        record=release.describe(after),
        diff={"before_header": str(path), "after_header": str(path), "before": release.describe(before), "after": shown},
    )


if __name__ == "__main__":
    main()
