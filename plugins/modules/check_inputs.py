# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin linda.ops.check_inputs; nothing of it runs on a managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_inputs
short_description: Check the inputs of a role on the controller
version_added: 0.1.0
description:
  - Judges the variables of a host against the argument specification of a role, before anything is changed.
  - Refuses unknown variables that begin with the role's name, wrong types, values outside the choices, missing required inputs,
    bad keys and values in nested inputs, values that do not have a named format, values that refer to undefined variables or
    do not render, and whatever the rules say.
  - All violations of one host are collected into one message, one line each, as C(host, variable, value, problem, remedy) and the
    file and line of the value where Ansible knows it.
  - The value of an input with C(no_log=true) in the specification, and of anything from Ansible Vault, is never shown.
options:
  role:
    description:
      - Name of the role, short or with its collection.
      - The specification is taken from the running role, from a role beside it, or from a collection.
    type: str
    required: true
  entry_point:
    description: Entry point whose required inputs must be set. Inputs of the other entry points are known, and checked when they are set.
    type: str
    default: main
  formats:
    description:
      - A mapping of the path of an input to a format, to a list of formats that must all hold, or to alternatives separated by V(|).
      - A path is the name of an input, followed by C([*]) for every element of a list and C(.key) for a key.
      - >-
        The formats are V(absolute_path), V(address), V(cidr), V(dns_name), V(duration), V(email), V(file_name), V(fingerprint),
        V(fqdn), V(host), V(host_port), V(hostname), V(identifier), V(ipv4), V(ipv6), V(keyfile), V(network), V(nonempty),
        V(nonnegative), V(nonnegative_number), V(octal_mode), V(one_line), V(oplog_mb), V(percentage), V(pgp_public_key), V(port),
        V(positive), V(relative_path), V(safe_path), V(sha256), V(size), V(ssh_public_key), V(timezone), V(unit), V(unix_name),
        V(url), V(version),
        V(wildcard_dns_name), V(secret_min_N) for every number N, and V(unique), which means that no value occurs twice.
      - An input without a value is not judged. An empty text is accepted where the default of the input is an empty text.
    type: dict
    default: {}
  rules:
    description:
      - Conditions that no single format can express.
      - They are rendered one by one and only when the inputs they are about are good by themselves.
    type: list
    elements: dict
    default: []
    suboptions:
      that:
        description: A template that renders to true or false.
        type: raw
        required: true
      variable:
        description: Path of the input that the message names.
        type: str
        required: true
      problem:
        description: What is wrong when the condition is false; continues the sentence C(variable = value).
        type: str
        required: true
      remedy:
        description: What to do about it, as a sentence.
        type: str
        required: true
attributes:
  check_mode:
    support: full
    description: Runs the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
  platform:
    support: full
    description: Runs on the controller for hosts of every platform.
    platforms: all
author:
  - The linda.ops authors (@linda)
"""

EXAMPLES = r"""
- name: validate | Check the inputs
  linda.ops.check_inputs:
    role: edge
    formats:
      edge_port: port
      edge_server_name: dns_name
      edge_upstreams[*].address: [host_port, unique]
    rules:
      - that: "{{ edge_upstreams | length > 0 }}"
        variable: edge_upstreams
        problem: is empty
        remedy: Put at least one host in the group api.
"""

RETURN = r"""
checked:
  description: How many inputs had a value and were judged.
  returned: always
  type: int
  sample: 12
violations:
  description: What is wrong, one entry a violation. C(shown) is the value as text, without secrets; C(origin) is where it was written.
  returned: always
  type: list
  elements: dict
  sample:
    - variable: edge_port
      shown: "99999"
      problem: is not a port (1..65535)
      remedy: Write a whole number from 1 to 65535
      origin: inventories/lab/group_vars/edge.yml:4
msg:
  description: All violations of the host as text, one line each.
  returned: always
  type: str
  sample: "host edge1: edge_port = 99999 is not a port (1..65535). Write a whole number from 1 to 65535. (group_vars/edge.yml:4)"
"""
