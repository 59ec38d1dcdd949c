#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of config_tree that runs on the host; the action plugin renders the tree and hands it over."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Install a whole configuration as one transaction
description:
  - Renders a tree of templates on the controller, and on the host compares it with the live files, stages it, lets the daemon's own
    checker judge it, swaps it in file by file, applies it, and probes the service. If any of that fails, the old files are put back and
    applied again.
  - When nothing has to change, one module run finds that out and nothing else happens.
  - A tree counts as applied only after its probe. A run that died after the swap is finished or undone by the next one, which also applies
    the configuration although no file differs.
  - A unit that O(apply) names and that is not running is started even when no file changed.
  - Files that are not part of the tree are never touched, except in O(exclusive) directories. A file that the tree created and no longer
    contains is removed; one that stood there before the tree took it is left as it is and reported as C(released).
options:
  name:
    description:
      - Identity of the tree on its host. The host remembers the applied state under this name.
    type: str
    required: true
  src:
    description:
      - Directory with the tree, below C(templates/) of the role. Files that end in C(.j2) are rendered and lose that ending,
        all others are copied as they are. A file that is executable on the controller gets mode C(0755).
      - Templates are rendered as M(ansible.builtin.template) does (O(ansible.builtin.template#module:trim_blocks) is on), but there is no
        C(ansible_managed), since the result must depend on the variables alone.
    type: str
  dest:
    description:
      - Absolute path of the directory that the tree is installed into; never V(/).
      - Missing directories are created; such above O(dest) are not removed by a rollback.
    type: str
    required: true
  files:
    description:
      - Further files, or one template several times.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below O(dest).
        type: str
        required: true
      template:
        description: Template below C(templates/) of the role. Exclusive with O(files[].content).
        type: str
      content:
        description: The content itself. Exclusive with O(files[].template).
        type: str
      vars:
        description: Variables for this file only; they win over all others.
        type: dict
        default: {}
  links:
    description:
      - Symbolic links, swapped in one step each as part of the transaction.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the link, below O(dest) or absolute.
        type: str
        required: true
      target:
        description: What the link points to, absolute or relative to the link's own directory.
        type: str
        required: true
  directories:
    description:
      - Directories whose mode and owners are managed. Other directories of the tree are created when missing (V(0755), O(owner), O(group))
        and left alone when they exist.
      - A link or file in the way of a listed directory is replaced; in the way of any other directory it stops the run.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below O(dest); V(.) is O(dest) itself.
        type: str
        required: true
      mode:
        description: Mode as a quoted octal text. V(0755) if not given.
        type: str
      owner:
        description: Name of the owner. O(owner) if not given.
        type: str
      group:
        description: Name of the group. O(group) if not given.
        type: str
  owner:
    description:
      - Owner of files and directories. The user that runs the module if not given, which is root with C(become).
    type: str
  group:
    description:
      - Group of files and directories. The group of the user that runs the module if not given.
    type: str
  modes:
    description:
      - Mode and owners of files by pattern; the first entry that matches counts. Without one a file gets V(0644).
      - Patterns here and in all other options are relative to O(dest), or absolute. C(*) and C(?) stop at a slash, C(**) does not.
    type: list
    elements: dict
    default: []
    suboptions:
      pattern:
        description: Pattern of paths.
        type: str
        required: true
      mode:
        description: Mode as a quoted octal text, such as V(0640).
        type: str
      owner:
        description: Name of the owner. O(owner) if not given.
        type: str
      group:
        description: Name of the group. O(group) if not given.
        type: str
  exclusive:
    description:
      - Directories below O(dest) that belong to the tree alone. Whatever else is found in them is removed.
    type: list
    elements: str
    default: []
  sensitive:
    description:
      - Patterns of files whose content never appears in a difference, a message or a log.
    type: list
    elements: str
    default: []
  validate:
    description:
      - Commands (each a list of words) that must accept the staged tree. C({staged}) stands for the directory where it is staged.
        A single command may be given as one plain list of words.
      - A checker sees the files of this tree only. Refer to managed files by relative names and to all others by absolute ones.
      - If one fails, the live files are untouched and the message has the checker's own words with the paths as they will be.
    type: list
    elements: list
    default: []
  watch:
    description:
      - Absolute paths that the daemon reads but this tree does not own, such as a certificate. When their content (or link text) changes,
        the steps of O(apply) that cover them are taken.
    type: list
    elements: str
    default: []
  apply:
    description:
      - What makes the daemon follow, in this order, each at most once and only if a path that it covers changed since the last applied
        state. All of them if that state is not known.
      - C(systemctl daemon-reload) precedes them by itself when unit files changed.
    type: list
    elements: dict
    default: []
    suboptions:
      paths:
        description: Patterns of the paths that this step is for. All paths if not given.
        type: list
        elements: str
        default: ["**"]
      unit:
        description: Name of a systemd unit. Exclusive with O(apply[].argv).
        type: str
      action:
        description:
          - What the unit needs when a path changed. A unit that cannot be reloaded is restarted instead, one that does not run is started
            whatever is said here; V(start) leaves a running unit alone.
        type: str
        choices: [reload, restart, start]
        default: reload
      enabled:
        description: Whether the unit starts at boot. Left alone if not given.
        type: bool
      argv:
        description: A command as a list of words. Exclusive with O(apply[].unit).
        type: list
        elements: str
  probe:
    description:
      - What must answer after O(apply) before the tree counts as applied, each retried until O(deadline). A single one needs no list.
    type: list
    elements: dict
    default: []
    suboptions:
      tcp:
        description: Host and port that must accept a connection, such as V(127.0.0.1:27017).
        type: str
      url:
        description: Address for a GET request. Redirects are not followed, certificates are verified.
        type: str
      status:
        description: Accepted status codes.
        type: list
        elements: int
        default: [200]
      server_name:
        description: Name asked for in TLS and in the Host header, and checked against the certificate, when O(probe[].url) has an address.
        type: str
      ca_file:
        description: File on the host with the accepted certificate authorities. The system's if not given.
        type: str
      body:
        description: Text that the answer must contain.
        type: str
      argv:
        description: Command that must exit with 0.
        type: list
        elements: str
  deadline:
    description:
      - Seconds that all probes together may take.
    type: int
    default: 30
  confirm:
    description:
      - Seconds (10 to 3600) in which somebody must still reach the host after the change.
      - Before the first live file is touched the host arms an undoing of its own. After O(apply) and O(probe) a fresh connection is made,
        in the way of the task's own but not multiplexed with it, and only that disarms it. When it cannot be made, when the controller
        dies, or when the host is started anew, the host puts the old configuration back, at most 5 seconds after the end of the window,
        and the next run reports it.
      - Meant for what can lock an operator out, such as the firewall and sshd. Needs systemd. Nothing happens when nothing changes.
    type: int
  confirm_port:
    description:
      - The port of the fresh connection, when the change moves it. That of the connection if not given.
    type: int
  state_directory:
    description:
      - Directory in which the host remembers what was applied. Only its owner can read it.
    type: path
    default: /var/lib/linda-ops/config_tree
  rendered:
    description:
      - Set by the action plugin, never by a playbook. The rendered tree, compressed.
    type: str
  confirming:
    description:
      - Set by the action plugin, never by a playbook. The change that is confirmed.
    type: str
attributes:
  check_mode:
    description: Compares, and validates where the checker is installed; says what it could not validate.
    support: full
  diff_mode:
    description: One entry per file; sensitive files show only that they change.
    support: full
  platform:
    description: Debian 12 and 13. Steps with units need systemd.
    support: full
    platforms: debian
author:
  - The linda.ops authors (@linda-ops)
version_added: 0.1.0
"""

EXAMPLES = r"""
- name: Install the edge configuration
  linda.ops.config_tree:
    name: edge
    src: nginx
    dest: /etc/nginx
    exclusive: [sites]
    modes:
      - {pattern: "secrets/*", mode: "0640", group: www-data}
    sensitive: ["secrets/*"]
    validate: [[nginx, -t, -q, -p, "{staged}", -c, nginx.conf]]
    watch: [/etc/linda/certificates/host/fullchain.pem]
    apply: [{unit: nginx, action: reload, enabled: true}]
    probe: {url: "https://127.0.0.1/healthz", server_name: edge.example.org, ca_file: /etc/linda/certificates/host/ca.pem}

- name: Install one drop-in for sshd without owning the rest of its directory
  linda.ops.config_tree:
    name: ssh_server
    dest: /etc/ssh
    files:
      - {path: sshd_config.d/10-hardening.conf, content: "PasswordAuthentication no\n"}
    validate: [[sshd, -t, -f, "{staged}/sshd_config.d/10-hardening.conf"]]
    apply: [{unit: ssh, action: reload}]
    probe: {tcp: "127.0.0.1:22"}
    confirm: 60
"""

RETURN = r"""
changed:
  description: Whether anything was, or in check mode would be, changed, applied or started.
  returned: always
  type: bool
  sample: true
changes:
  description: Paths that were written, removed, or given another mode or owner.
  returned: always
  type: list
  elements: str
  sample: [/etc/nginx/nginx.conf]
drifted:
  description: Managed paths that somebody else had changed since they were applied.
  returned: always
  type: list
  elements: str
  sample: []
released:
  description: Paths that the tree no longer contains and that were left in place, because they had existed before the tree took them.
  returned: always
  type: list
  elements: str
  sample: []
validated:
  description: Whether the checkers of O(validate) ran and accepted the tree.
  returned: always
  type: bool
  sample: true
not_validated:
  description: Why check mode could not validate; empty otherwise.
  returned: always
  type: str
  sample: "nginx: not installed"
applied:
  description: Steps of O(apply) that were, or in check mode would be, taken.
  returned: always
  type: list
  elements: str
  sample: [reload nginx.service]
probed:
  description: Probes that answered.
  returned: always
  type: list
  elements: str
  sample: [https://127.0.0.1/healthz as edge.example.org]
rolled_back:
  description: Whether the old configuration was put back because something failed.
  returned: always
  type: bool
  sample: false
recovered:
  description: What was done about an earlier run that had died, V(finished) or V(undone); empty if there was none.
  returned: always
  type: str
  sample: ""
expired:
  description: What the host has to say of an earlier change that it undid by itself because nobody confirmed it; empty otherwise.
  returned: always
  type: str
  sample: ""
confirmed:
  description: Whether a fresh connection confirmed the change. Not there without O(confirm), and when nothing changed.
  returned: with O(confirm), when changed
  type: bool
  sample: true
swap_order:
  description:
    - How the order of a swap was found. With V(checked) the checkers of O(validate) accept the live directory after every single rename.
      With V(default) they were not asked (a single file, no checker, or nothing valid to begin with). With V(unsafe) there is a moment
      between two renames in which they would reject it, because two files only work together.
    - Empty if nothing was swapped.
  returned: always
  type: str
  sample: checked
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils._config_tree_engine import Failed, Outcome, Request, run, settle
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError
from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import ARGUMENTS, Tree, check_parameters


def request_of(params: dict[str, Any], *, check_mode: bool, with_diff: bool) -> Request:
    """Return what the parameters ask for.

    :raises ConfigTreeError: if they cannot mean anything.
    """
    check_parameters(params)
    if not params["rendered"]:
        raise ConfigTreeError("rendered: linda.ops.config_tree only works through its action plugin, which renders the tree")
    return Request(
        name=params["name"],
        tree=Tree.decode(params["rendered"]),
        check_mode=check_mode,
        with_diff=with_diff,
        **{key: params[key] for key in ("validate", "watch", "apply", "probe", "deadline", "confirm", "state_directory")},
    )


def main() -> None:
    """Run the transaction and report it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        if module.params["confirming"]:
            outcome = settle(module.params["state_directory"], module.params["name"], module.params["confirming"])
        else:
            outcome = run(request_of(module.params, check_mode=module.check_mode, with_diff=module._diff))
            if outcome.expired:
                module.warn(outcome.expired)
    except Failed as error:
        module.fail_json(msg=str(error), **error.outcome.report())
    except ConfigTreeError as error:
        module.fail_json(msg=str(error), **Outcome().report())
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", **Outcome().report())
    else:
        module.exit_json(**outcome.report())


if __name__ == "__main__":
    main()
