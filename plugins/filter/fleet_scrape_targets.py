# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.fleet_scrape_targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._descriptor import DescriptorError, scrape_targets_of

DOCUMENTATION = r"""
name: fleet_scrape_targets
short_description: The metrics endpoints of the fleet by job
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Reads the service descriptors of the fleet (C(fleet_services) of every host) and gives every metrics endpoint,
    gathered by job, scheme and path, sorted, with the address at which other hosts of the fleet reach it.
  - A descriptor that is wrong, on any host, is refused with a message that names host, role and field.
options:
  _input:
    description: C(hostvars), or a dictionary of its shape.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what a metrics server has to read
  ansible.builtin.debug:
    msg: "{{ hostvars | linda.ops.fleet_scrape_targets }}"
"""

RETURN = r"""
_value:
  description: One entry for each job, scheme and path.
  type: list
  elements: dict
  sample:
    - job: api
      scheme: http
      path: /metrics
      targets:
        - host: api1
          role: application
          address: 198.51.100.21:8000
"""


def fleet_scrape_targets(hostvars: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """The metrics endpoints of the fleet; see RETURN."""
    try:
        return scrape_targets_of(hostvars)
    except DescriptorError as problem:
        raise AnsibleFilterError(f"fleet_scrape_targets: {problem}") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters of this file by name."""
        return {"fleet_scrape_targets": fleet_scrape_targets}
