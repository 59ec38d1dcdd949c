#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Raise the feature compatibility version of a MongoDB replica set, the step that closes a major upgrade."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mongodb_feature_compatibility
short_description: Raise the feature compatibility version of a MongoDB replica set
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - After all members run a new release series, the set still writes data that the series before could read, and the upgrade could be
    undone. This step ends that. The version is named, so that nobody takes it in passing.
  - Refused unless every member is up and runs a server of that series. It is never taken back.
options:
  replica_set:
    description: The name of the set.
    type: str
    default: rs0
  version:
    description: The release series, such as V(6.0).
    type: str
    required: true
extends_documentation_fragment:
  - linda.ops.mongodb_login
attributes:
  check_mode:
    support: full
    description: Reads and judges; no command that writes is sent.
  diff_mode:
    support: full
    description: Shows the version before and after.
  platform:
    platforms: posix
    support: full
    description: Runs wherever pymongo is installed and the members can be reached.
seealso:
  - module: linda.ops.mongodb_gate
"""

EXAMPLES = r"""
- name: Close the upgrade to 6.0
  linda.ops.mongodb_feature_compatibility:
    login_addresses: [mongo1.example.net, mongo2.example.net, mongo3.example.net]
    login_user: admin
    login_password: "{{ mongodb_admin_password }}"
    ssl: true
    ssl_ca_certs: /etc/linda/certificates/host/ca.pem
    version: "6.0"
  run_once: true
"""

RETURN = r"""
state:
  description: The feature compatibility version that was found.
  returned: success
  type: str
  sample: "5.0"
plan:
  description: The step to do, empty when the version is right.
  returned: always
  type: list
  elements: dict
  sample:
    - action: set_feature_compatibility
      host: null
      reason: raise the feature compatibility version from 5.0 to 6.0
steps_done:
  description: The step, when it was carried out.
  returned: always
  type: list
  elements: dict
  sample: []
code:
  description: >-
    What was refused, in one word that stays the same between releases, such as V(mixed_versions), V(unhealthy), V(downgrade),
    V(skips_major) or V(unknown_series).
  returned: failure
  type: str
  sample: mixed_versions
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._mongodb_connection import (
    LOGIN_ARGUMENTS,
    LOGIN_TOGETHER,
    MAJORITY,
    Cluster,
    Login,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling import observe
from ansible_collections.linda.ops.plugins.module_utils._mongodb_rolling_plan import refuse_feature_compatibility, series_of

ARGUMENTS: dict[str, dict[str, Any]] = {
    **LOGIN_ARGUMENTS,
    "replica_set": {"type": "str", "default": "rs0"},
    "version": {"type": "str", "required": True},
}
# From this series on the server asks for a confirmation of its own.
CONFIRMED_SINCE = 7


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call.

    :raises MongodbError: for every refusal and failure.
    """
    wanted = module.params["version"]
    with Cluster(Login.from_params(module.params)) as cluster:
        observed = observe(cluster, module.params["replica_set"])
        present = observed.feature_compatibility
        result |= {"state": present, "diff": {"before": {"version": present}, "after": {"version": wanted}}}
        if not refuse_feature_compatibility(observed, wanted):
            return
        reason = f"raise the feature compatibility version from {present} to {wanted}"
        result["plan"] = [{"action": "set_feature_compatibility", "host": None, "reason": reason}]
        if not module.check_mode:
            confirm: dict[str, Any] = {"confirm": True} if int(series_of(wanted).partition(".")[0]) >= CONFIRMED_SINCE else {}
            cluster.primary().command("setFeatureCompatibilityVersion", wanted, writeConcern=dict(MAJORITY), **confirm)
            result["steps_done"] = result["plan"]
        result["changed"] = True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=LOGIN_TOGETHER, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": [], "diff": {}}
    try:
        run(module, result)
    except MongodbError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
