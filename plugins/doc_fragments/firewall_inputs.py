# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inputs that the filters of the packet filter share."""

from __future__ import annotations


class ModuleDocFragment:
    """Holds the documentation that filters extend."""

    DOCUMENTATION = r"""
options:
  _input:
    description: Ports with their sources resolved, as P(linda.ops.fleet_ports#filter) gives them.
    type: list
    elements: dict
    required: true
  administrators:
    description: Networks that reach O(admin_ports) whatever the services say.
    type: list
    elements: str
    required: true
  admin_ports:
    description: TCP ports of the administrators, that of sshd above all.
    type: list
    elements: int
    required: true
  connection:
    description: The value of C(SSH_CONNECTION) in the session of the run, by which it is told where the run comes in. Empty without one.
    type: str
    default: ""
"""
