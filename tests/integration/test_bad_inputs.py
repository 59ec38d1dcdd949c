"""Bad input is refused before anything changes, by one message that names host, variable, value (never a secret's) and remedy.

Every case sits on a host of its own, whose connection cannot work: whatever ran remotely would show as UNREACHABLE. All cases of one
role are judged by one start of ansible-playbook.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
SECRET = "hunter2secret"  # noqa: S105  # of no account: no message may hold it

ONLY_CHECK = """
---
- name: Check one role
  hosts: case
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Check the inputs
      ansible.builtin.include_role: {{name: linda.ops.{role}, tasks_from: validate, rolespec_validate: false}}
- name: Reach the hosts
  hosts: case
  gather_facts: false
  tasks:
    - name: Say hello
      ansible.builtin.ping:
"""


@dataclass(frozen=True)
class Case:
    """One bad input.

    variables: what the host sets beside the good values; None takes a good value away.
    says:      what the host's message must hold, word for word.
    """

    role: str
    name: str
    variables: Mapping[str, Any]
    says: tuple[str, ...] = field(default=())

    @property
    def host(self) -> str:
        return f"{self.role.replace('_', '-')}-{self.name}"


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hcmlhTWFyaWFNYXJpYU1hcmlhTWFyaWFNYXJpYU1h maria@example.com"
KEYFILE = base64.b64encode(hashlib.shake_256(b"a key file of no cluster").digest(99)).decode()
MEMBERS = [{"host": f"mongo{number}.example.com:27017"} for number in (1, 2, 3)]


def public_key() -> tuple[str, str]:
    """An OpenPGP public key as small as can be, and its fingerprint by the rule of RFC 4880, 12.2."""
    body = b"\x04" + (1_700_000_000).to_bytes(4, "big") + b"\x01" + b"\x04\x00" + b"\xff" * 128 + b"\x00\x11\x01\x00\x01"
    packet = b"\x99" + len(body).to_bytes(2, "big") + body
    armour = base64.b64encode(packet).decode()
    text = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{armour}\n-----END PGP PUBLIC KEY BLOCK-----\n"
    return text, hashlib.sha1(packet, usedforsecurity=False).hexdigest().upper()


SELF = [{"host": "{{ inventory_hostname }}.example.com:27017"}]
SILENT = [{"host": "mongo9.example.com:27017"}]
PGP_KEY, FINGERPRINT = public_key()

GOOD: dict[str, dict[str, Any]] = {
    "base": {},
    "certificates": {"certificates_ca_directory": "{{ scratch }}/ca", "certificates_ca_passphrase": "correct-horse-battery"},
    "application": {
        "application_name": "linda-api",
        "application_version": "1.4.0",
        "application_wheelhouse_url": "https://artefacts.example.com/wheelhouse",
        "application_port": 8000,
    },
    "mongodb": {
        "mongodb_members": [*MEMBERS, {"host": "{{ inventory_hostname }}.example.com:27017", "votes": 0, "priority": 0}],
        "mongodb_repository_key": PGP_KEY,
        "mongodb_repository_key_fingerprint": FINGERPRINT,
        "mongodb_keyfile": KEYFILE,
        "mongodb_admin_password": "a-password-of-the-admin",
        "mongodb_application_password": "a-password-of-the-application",
        "mongodb_monitor_password": "a-password-of-the-monitor",
    },
    "schema": {"schema_addresses": ["192.0.2.31:27017"], "schema_login_password": "a-password-of-the-admin"},
    "edge": {"edge_server_names": ["api.example.com"], "edge_upstreams": [{"name": "api1", "address": "192.0.2.21:8000"}]},
    "firewall": {
        "fleet_admin_networks": ["192.0.2.0/24"],
        "firewall_ports": [{"role": "edge", "name": "https", "port": 443, "sources": ["::/0"]}],
    },
}

PORT = "Write a whole number from 1 to 65535."
DNS = "Use letters, digits and hyphens in labels separated by dots, such as api.example.org."


def model(**collection: Any) -> dict[str, Any]:
    """A description of one collection for role schema."""
    return {"schema_databases": [{"name": "shop", "collections": [{"name": "it", **collection}]}]}


CASES = [
    # names
    Case(
        "base", "typo", {"base_timezon": "Etc/UTC"}, ('base_timezon = "Etc/UTC" is not an input of role base. Did you mean base_timezone?',)
    ),
    Case("base", "foreign", {"base_colour": "red"}, ('base_colour = "red" is not an input of role base.', "look up the name")),
    Case(
        "base",
        "nested-typo",
        {"base_accounts": [{"name": "maria", "shel": "/bin/sh"}]},
        ("base_accounts[0].shel = ", "Did you mean shell?"),
    ),
    Case(
        "certificates",
        "secret-typo",
        {"certificates_ca_pasphrase": SECRET},
        ("certificates_ca_pasphrase = (secret, not shown) is not an input", "Did you mean certificates_ca_passphrase?"),
    ),
    Case(
        "edge",
        "nested-unknown",
        {"edge_upstreams": [{"name": "a", "address": "a:1", "weight": 3}]},
        ("edge_upstreams[0].weight = 3", "keys are"),
    ),
    # types
    Case("base", "text-for-list", {"base_packages": "vim"}, ('base_packages = "vim" is not a list. Write a YAML list',)),
    Case("base", "text-for-number", {"base_journal_max_days": "a month"}, ('base_journal_max_days = "a month" is not a whole number.',)),
    Case("base", "number-for-text", {"base_journal_max_size": 1}, ("base_journal_max_size = 1 is not text. Put quotes around it",)),
    Case("base", "list-for-mapping", {"base_accounts": ["maria"]}, ('base_accounts[0] = "maria" is not a mapping.',)),
    Case(
        "base",
        "word-for-flag",
        {"base_accounts": [{"name": "maria", "sudo": "perhaps"}]},
        ("base_accounts[0].sudo", "Write true or false."),
    ),
    Case("application", "version-number", {"application_version": 1.10}, ("application_version = 1.1 is not text. Put quotes around it",)),
    Case("application", "port-name", {"application_port": "http"}, ('application_port = "http" is not a whole number.',)),
    Case("certificates", "days-word", {"certificates_days": "ninety"}, ('certificates_days = "ninety" is not a whole number.',)),
    Case("edge", "flag", {"edge_ipv6": "sometimes"}, ('edge_ipv6 = "sometimes" is not true or false.',)),
    Case("edge", "null", {"edge_https_port": None}, ("edge_https_port = null has no value. Write a value, or remove the line",)),
    # missing
    Case("certificates", "no-passphrase", {"-": "certificates_ca_passphrase"}, ("certificates_ca_passphrase is not set.", "Ansible Vault")),
    Case("certificates", "no-directory", {"-": "certificates_ca_directory"}, ("certificates_ca_directory is not set. Set it:",)),
    Case("application", "no-version", {"-": "application_version"}, ("application_version is not set. Set it:",)),
    Case("edge", "no-upstreams", {"-": "edge_upstreams"}, ("edge_upstreams is not set. Set it:",)),
    Case("edge", "no-address", {"edge_upstreams": [{"name": "api1"}]}, ("edge_upstreams[0].address is not set. Set it:",)),
    # undefined and broken templates
    Case(
        "certificates",
        "undefined-secret",
        {"certificates_ca_passphrase": "{{ vault_passphrase }}"},
        ("certificates_ca_passphrase = (secret, not shown) refers to vault_passphrase, which is undefined.", "Define it for this host"),
    ),
    Case(
        "base",
        "undefined",
        {"base_timezone": "{{ timezone }}"},
        ('base_timezone = "{{ timezone }}" refers to timezone, which is undefined.',),
    ),
    Case("base", "undefined-typo", {"base_timezone": "{{ fleet_domian }}"}, ("refers to fleet_domian", "Did you mean fleet_domain?")),
    Case("edge", "broken-template", {"edge_sticky_cookie": "{{ 'a' "}, ("edge_sticky_cookie = ", "cannot be rendered", "!unsafe")),
    Case(
        "certificates",
        "secret-with-braces",
        {"certificates_ca_passphrase": SECRET + "{{"},
        ("certificates_ca_passphrase = (secret, not shown) cannot be rendered as a template.", "!unsafe"),
    ),
    # choices
    Case(
        "certificates",
        "key-type",
        {"certificates_key_type": "ecdsa-p265"},
        ('certificates_key_type = "ecdsa-p265" is none of', "Did you mean ecdsa-p256?"),
    ),
    Case("edge", "retry", {"edge_retry_on": ["error", "http_404"]}, ('edge_retry_on[1] = "http_404" is none of: error, timeout',)),
    Case(
        "base",
        "state",
        {"base_accounts": [{"name": "maria", "state": "gone"}]},
        ('base_accounts[0].state = "gone" is none of: present, absent.',),
    ),
    # formats
    Case("application", "port-range", {"application_port": 99999}, (f"application_port = 99999 is not a port (1..65535). {PORT}",)),
    Case("edge", "port-zero", {"edge_http_port": 0}, (f"edge_http_port = 0 is not a port (1..65535). {PORT}",)),
    Case(
        "certificates",
        "bad-name",
        {"certificates_names": ["api_1.example.com"]},
        ('certificates_names[0] = "api_1.example.com" is neither',),
    ),
    Case(
        "certificates",
        "name-twice",
        {"certificates_names": ["a.example", "a.example"]},
        ("certificates_names[1]", "the same as certificates_names[0]"),
    ),
    Case("certificates", "no-names", {"certificates_names": []}, ("certificates_names = [] is empty.",)),
    Case(
        "certificates",
        "root-directory",
        {"certificates_ca_directory": "/"},
        ('certificates_ca_directory = "/" is not an absolute path below /.',),
    ),
    Case(
        "certificates",
        "dotted-directory",
        {"certificates_ca_directory": "/srv/../etc"},
        ('certificates_ca_directory = "/srv/../etc" is not',),
    ),
    Case(
        "certificates",
        "relative-directory",
        {"certificates_ca_directory": "ca"},
        ('certificates_ca_directory = "ca" is not an absolute path',),
    ),
    Case(
        "certificates",
        "short-passphrase",
        {"certificates_ca_passphrase": SECRET},
        ("certificates_ca_passphrase = (secret, not shown) is not a secret of at least 16 characters. Make one with: openssl rand",),
    ),
    Case("base", "host-name", {"base_hostname": "api_1"}, ('base_hostname = "api_1" is not a host name',)),
    Case(
        "base",
        "key",
        {"base_accounts": [{"name": "maria", "keys": ["ssh-rsa nonsense"]}]},
        ("base_accounts[0].keys[0]", "is not an SSH public key."),
    ),
    Case("base", "account-twice", {"base_accounts": [{"name": "maria"}, {"name": "maria"}]}, ("base_accounts[1].name", "the same as")),
    Case(
        "base",
        "network",
        {"base_time_serve_to": ["192.0.2.1/24"]},
        ('base_time_serve_to[0] = "192.0.2.1/24" is not an address or a network.',),
    ),
    Case("application", "url", {"application_wheelhouse_url": "ftp://example.com"}, ('"ftp://example.com" is not an http or https URL.',)),
    Case("application", "name", {"application_name": "Linda API"}, ('application_name = "Linda API" is not a name of a Unix account',)),
    Case("application", "version", {"application_version": "latest"}, ('application_version = "latest" is not a version.',)),
    Case(
        "edge",
        "server-name",
        {"edge_server_names": ["api..example.com"]},
        (f'edge_server_names[0] = "api..example.com" is not a DNS name (RFC 1123). {DNS}',),
    ),
    Case("edge", "upstream-port", {"edge_upstreams": [{"name": "a", "address": "192.0.2.1"}]}, ('"192.0.2.1" is not a host and port.',)),
    Case("edge", "body-size", {"edge_max_body_size": "10 MB"}, ('edge_max_body_size = "10 MB" is not a size.',)),
    Case(
        "mongodb",
        "keyfile",
        {"mongodb_keyfile": SECRET + "!"},
        ("mongodb_keyfile = (secret, not shown) is not the content of a MongoDB key file.",),
    ),
    Case(
        "mongodb", "keyfile-repeats", {"mongodb_keyfile": "abcdefgh" * 16}, ("mongodb_keyfile = (secret, not shown) is weak: it repeats",)
    ),
    Case(
        "mongodb",
        "keyfile-short",
        {"mongodb_keyfile": KEYFILE[:40]},
        ("mongodb_keyfile = (secret, not shown) is weak: it has 40 characters",),
    ),
    Case(
        "mongodb",
        "keyfile-second",
        {"mongodb_keyfile": f"- {KEYFILE}\n- {SECRET * 6}\n"},
        ("mongodb_keyfile = (secret, not shown) is weak: it repeats itself (key 2 of 2). Make one with: openssl rand -base64 756",),
    ),
    Case(
        "mongodb",
        "password",
        {"mongodb_admin_password": SECRET},
        ("mongodb_admin_password = (secret, not shown) is not a secret of at least 16",),
    ),
    *(
        Case("mongodb", f"volume-{name}", {"mongodb_encryption": encryption}, ("mongodb_encryption", *says))
        for name, encryption, says in [
            ("type", {"type": "bitlocker"}, ('.type = "bitlocker"', "none, auto, luks")),
            ("no-type", {"device": "/dev/vdb", "key_file": "/etc/k"}, (".type is not set",)),
            ("no-key", {"type": "auto", "device": "/dev/vdb"}, ("Say where the key comes from",)),
            (
                "two-keys",
                {"type": "auto", "device": "/dev/vdb", "key_file": "/k", "key_command": ["/v"]},
                ("the key comes from one place",),
            ),
            ("command", {"type": "auto", "device": "/dev/vdb", "key_command": ["vault"]}, ("does not begin with the absolute path",)),
            ("inside", {"type": "luks", "device": "/dev/vdb", "key_file": "/var/lib/mongodb/k"}, ("lies on the volume that it opens",)),
            ("no-device", {"type": "luks", "key_file": "/etc/k"}, ("Give either device",)),
            ("file", {"type": "luks", "device": "/srv/x.img", "key_file": "/etc/k"}, ("a file is given as image",)),
            ("small", {"type": "auto", "image": "/srv/x.img", "image_size_mb": 8, "key_file": "/etc/k"}, ("from 64 up",)),
            ("xfs", {"type": "auto", "device": "/dev/vdb", "filesystem": "xfs", "key_file": "/etc/k"}, ("needs type luks",)),
            ("typo", {"type": "auto", "device": "/dev/vdb", "key_flie": "/etc/k"}, ("Did you mean key_file?",)),
        ]
    ),
    Case(
        "mongodb",
        "oplog-small",
        {"mongodb_oplog_size_mb": 500},
        ("mongodb_oplog_size_mb = 500 is not 0 or a size that a running server's",),
    ),
    Case(
        "mongodb",
        "oplog-hours",
        {"mongodb_oplog_min_retention_hours": -1},
        ("mongodb_oplog_min_retention_hours = -1 is not zero or a positive number. Write a number from 0 up.",),
    ),
    Case(
        "mongodb",
        "profiling",
        {"mongodb_profiling_mode": "slowop"},
        ('mongodb_profiling_mode = "slowop" is none of', "Did you mean slowOp?"),
    ),
    Case("mongodb", "profiling-bare-off", {"mongodb_profiling_mode": False}, ("mongodb_profiling_mode = false is not text.", "quotes")),
    Case("mongodb", "log-verbosity", {"mongodb_log_verbosity": 6}, ("mongodb_log_verbosity = 6 is none of: 0, 1, 2, 3, 4, 5.",)),
    Case("mongodb", "log-keep", {"mongodb_log_keep": 0}, ("mongodb_log_keep = 0 is not a positive whole number.",)),
    Case("mongodb", "log-size", {"mongodb_log_max_mb": "1G"}, ('mongodb_log_max_mb = "1G" is not a whole number.',)),
    Case("mongodb", "memory", {"mongodb_minimum_memory_gb": "32 GB"}, ('mongodb_minimum_memory_gb = "32 GB" is not a number.',)),
    Case("mongodb", "disk", {"mongodb_minimum_disk_gb": -500}, ("mongodb_minimum_disk_gb = -500 is not zero or a positive number.",)),
    Case("mongodb", "strict", {"mongodb_preflight_strict": "perhaps"}, ('mongodb_preflight_strict = "perhaps" is not true or false.',)),
    Case("mongodb", "swappiness", {"mongodb_swappiness": 160}, ("mongodb_swappiness = 160 is not a percentage (0..100).",)),
    Case("mongodb", "slow-query", {"mongodb_slow_query_ms": "100ms"}, ('mongodb_slow_query_ms = "100ms" is not a whole number.',)),
    Case("mongodb", "cache", {"mongodb_cache_size_gb": 0.1}, ("mongodb_cache_size_gb = 0.1 is below the 0.25 GB that the server needs.",)),
    Case("mongodb", "configuration", {"mongodb_configuration": ["a"]}, ("mongodb_configuration = ", "is not a mapping.")),
    Case("mongodb", "port", {"mongodb_port": 70000}, (f"mongodb_port = 70000 is not a port (1..65535). {PORT}",)),
    Case(
        "mongodb",
        "key",
        {"mongodb_repository_key": "AB12"},
        ('mongodb_repository_key = "AB12" is not an ASCII-armoured OpenPGP public key.',),
    ),
    Case(
        "mongodb",
        "member-host",
        {"mongodb_members": [{"host": "mongo 1:27017"}]},
        ('mongodb_members[0].host = "mongo 1:27017" is not a host and port',),
    ),
    Case("mongodb", "no-password", {"-": "mongodb_monitor_password"}, ("mongodb_monitor_password is not set.", "Ansible Vault")),
    Case("mongodb", "backup-short", {"mongodb_backup_password": "too-little"}, ("mongodb_backup_password = (secret, not shown)", "16")),
    Case("mongodb", "unmanaged", {"mongodb_unmanaged_users": "remove"}, ("mongodb_unmanaged_users = ", "is none of: keep, report, drop.")),
    Case("mongodb", "user-typo", {"mongodb_users": [{"name": "a", "rolls": []}]}, ("mongodb_users[0].rolls", "Did you mean roles?")),
    Case("mongodb", "user-twice", {"mongodb_users": [{"name": "monitor"}]}, ("is refused: admin.monitor is listed more than once.",)),
    Case("mongodb", "user-subject", {"mongodb_users": [{"name": "a", "database": "$external"}]}, ("is refused: ", "RFC2253")),
    Case(
        "mongodb",
        "user-network",
        {"mongodb_users": [{"name": "a", "authentication_restrictions": [{"clientSource": ["10.0.0.5/8"]}]}]},
        ("is refused: ", "clientSource = '10.0.0.5/8'"),
    ),
    Case(
        "mongodb", "user-mechanism", {"mongodb_users": [{"name": "a", "mechanisms": ["PLAIN"]}]}, ("is refused: ", "mechanisms = ['PLAIN']")
    ),
    Case(
        "mongodb", "role-cycle", {"mongodb_roles": [{"name": "a", "roles": ["a"]}]}, ("is refused: ", "a@admin > a@admin inherits itself")
    ),
    Case("mongodb", "role-twice", {"mongodb_roles": [{"name": "a"}, {"name": "a"}]}, ("is refused: ", "a@admin is listed more than once")),
    Case(
        "mongodb",
        "role-resource",
        {"mongodb_roles": [{"name": "a", "privileges": [{"resource": {"db": "x"}, "actions": ["find"]}]}]},
        ("is refused: ", "resource = {'db': 'x'}"),
    ),
    Case(
        "mongodb",
        "role-actions",
        {"mongodb_roles": [{"name": "a", "privileges": [{"resource": {"cluster": True}, "actions": []}]}]},
        ("is refused: ", "actions = []"),
    ),
    Case(
        "mongodb",
        "role-abroad",
        {"mongodb_roles": [{"name": "a", "database": "x", "roles": [{"role": "read", "db": "y"}]}]},
        ("is refused: ", "cannot inherit read@y"),
    ),
    # rules over several values
    Case("mongodb", "no-members", {"mongodb_members": []}, ("mongodb_members = [] is empty.",)),
    Case("mongodb", "even-voters", {"mongodb_members": MEMBERS[:2] + SELF + SILENT}, ("mongodb_members = ", "is refused: ", "odd")),
    Case("mongodb", "stranger", {"mongodb_members": MEMBERS}, ("does not list this host, mongodb-stranger.example.com:27017.",)),
    Case(
        "mongodb",
        "other-key",
        {"mongodb_repository_key_fingerprint": "0" * 40},
        (f"is not the fingerprint of mongodb_repository_key, which is {FINGERPRINT}. Compare both with what the vendor publishes",),
    ),
    Case("base", "no-time", {"base_time_servers": []}, ("base_time_servers = [] is empty", "Name at least one time server")),
    Case("base", "stratum", {"base_time_local_stratum": 99}, ("base_time_local_stratum = 99 is not a stratum (0..15).",)),
    Case(
        "certificates",
        "renewal",
        {"certificates_days": 30, "certificates_renew_before": 60},
        ("certificates_renew_before = 60 is not below",),
    ),
    Case("edge", "no-upstream", {"edge_upstreams": []}, ("edge_upstreams = [] is empty.",)),
    Case("edge", "same-port", {"edge_http_port": 443}, ("edge_https_port = 443 is the port of HTTP too.",)),
    Case("firewall", "nobody", {"fleet_admin_networks": []}, ("fleet_admin_networks = [] is empty.",)),
    Case("firewall", "everybody", {"fleet_admin_networks": ["0.0.0.0/0"]}, ("has 0.0.0.0/0, which is everybody. List the networks",)),
    Case("firewall", "everybody-6", {"fleet_admin_networks": ["192.0.2.1", "::/0"]}, ("has ::/0, which is everybody",)),
    Case("firewall", "host-bits", {"fleet_admin_networks": ["192.0.2.1/24"]}, ('fleet_admin_networks[0] = "192.0.2.1/24" is not',)),
    Case("firewall", "network-twice", {"fleet_admin_networks": ["192.0.2.0/24", "192.0.2.0/24"]}, ("fleet_admin_networks[1]",)),
    Case("firewall", "no-network", {"fleet_admin_networks": ["office"]}, ('fleet_admin_networks[0] = "office" is not',)),
    Case("firewall", "no-way-in", {"firewall_admin_ports": []}, ("firewall_admin_ports = [] is empty.",)),
    Case("firewall", "no-port", {"firewall_admin_ports": [0]}, ("firewall_admin_ports[0] = 0 is not a port", PORT)),
    Case(
        "firewall",
        "two-owners",
        {"firewall_extra_ports": [{"role": "vendor", "name": "agent", "port": 443, "sources": ["192.0.2.7"]}]},
        ("gives 443/tcp to edge (https) and to vendor (agent). Give one of them another port",),
    ),
    Case(
        "firewall",
        "source",
        {"firewall_extra_ports": [{"role": "vendor", "name": "agent", "port": 9, "sources": ["everybody"]}]},
        ('firewall_extra_ports[0].sources[0] = "everybody" is not',),
    ),
    Case(
        "firewall",
        "protocol",
        {"firewall_extra_ports": [{"role": "vendor", "name": "agent", "port": 9, "proto": "icmp", "sources": ["::/0"]}]},
        ("firewall_extra_ports[0].proto",),
    ),
    Case(
        "firewall",
        "no-sources",
        {"firewall_extra_ports": [{"role": "vendor", "name": "agent", "port": 9}]},
        ("firewall_extra_ports[0].sources",),
    ),
    Case("firewall", "rate", {"firewall_log_rate": "often"}, ('firewall_log_rate = "often" is not a rate',)),
    Case("firewall", "window", {"firewall_confirm": 5}, ("firewall_confirm = 5 is not 10 to 3600 seconds",)),
    Case("firewall", "policy", {"firewall_forward_policy": "reject"}, ("firewall_forward_policy", "drop, accept")),
    Case(
        "firewall",
        "idle-egress",
        {"firewall_egress": [{"name": "dns", "port": 53, "to": ["::/0"]}]},
        ("means nothing while firewall_egress_policy is accept",),
    ),
    Case(
        "firewall",
        "egress",
        {"firewall_egress_policy": "drop", "firewall_egress": [{"name": "dns", "port": 53, "to": ["10.0.0.1/8"]}]},
        ('firewall_egress[0].to[0] = "10.0.0.1/8" is not',),
    ),
    Case("firewall", "typo", {"firewall_admin_port": [22]}, ("firewall_admin_port", "firewall_admin_ports")),
    Case("application", "root", {"application_user": "root"}, ('application_user = "root" may do everything on the host.',)),
    Case(
        "application",
        "empty-secret",
        {"application_secrets": {"PASSWORD": ""}},
        ("application_secrets = (secret, not shown) holds a secret that is empty",),
    ),
    Case("application", "secret-number", {"application_secrets": {"PIN": 12345678}}, ("application_secrets = (secret, not shown) holds",)),
    # schema
    Case("schema", "typo", model(validater={}), ("schema_databases[0].collections[0].validater = {}", "Did you mean validator?")),
    Case("schema", "action", model(validator={}, validation_action="log"), ("validation_action = ", "is none of: error, warn.")),
    Case("schema", "validator-list", model(validator=[{"a": 1}]), ("schema_databases[0].collections[0].validator = ", "is not a mapping")),
    Case("schema", "no-addresses", {"schema_addresses": []}, ("schema_addresses = [] is empty.",)),
    Case("schema", "address", {"schema_addresses": ["mongo 1"]}, ('schema_addresses[0] = "mongo 1" is not a host and port',)),
    Case("schema", "no-password", {"-": "schema_login_password"}, ("schema_login_password is not set.", "Ansible Vault")),
    Case("schema", "unmanaged", {"schema_unmanaged_collections": "drop"}, ("schema_unmanaged_collections = ", "is none of: keep, report.")),
    Case("schema", "allow", {"schema_allow": ["everything"]}, ("schema_allow[0] = ", "is none of: ")),
    Case(
        "schema", "keyword", model(validator={"$jsonSchema": {"bsonTyp": "object"}}), ("shop.it: validator.$jsonSchema.bsonTyp is not a",)
    ),
    Case(
        "schema", "type", model(validator={"$jsonSchema": {"bsonType": "text"}}), ("bsonType = 'text' names no type that the server knows",)
    ),
    Case("schema", "action-alone", model(validation_action="warn"), ("shop.it: validation_action is given without validator",)),
    Case("schema", "expiry", model(expire_after_seconds=60), ("by a TTL index",)),
    Case("schema", "series", model(timeseries={"time_field": "t"}, validator={"a": 1}), ("validator is given for a time series",)),
    Case("schema", "name", {"schema_databases": [{"name": "a b", "collections": [{"name": "x"}]}]}, ("Database 'a b'", "is refused: ")),
    Case("schema", "keys", model(indexes=[{"keys": {"a": 1, "b": 1}}]), ("is refused: ", "shop.it", "keys")),
    Case("schema", "option", model(indexes=[{"keys": {"a": 1}, "uniqe": True}]), ("is refused: ", "uniqe")),
    Case(
        "schema",
        "ttl",
        model(indexes=[{"keys": [{"a": 1}, {"b": 1}], "expire_after_seconds": 5}]),
        ("is refused: ", "expire_after_seconds"),
    ),
    Case("schema", "twice", model(indexes=[{"keys": {"a": 1}, "name": "i"}, {"keys": {"b": 1}, "name": "i"}]), ("is refused: ", "shop.it")),
]


@dataclass(frozen=True)
class Run:
    """What one start of ansible-playbook left."""

    code: int
    text: str

    def of(self, host: str) -> str:
        """The lines about one host."""
        return "\n".join(line for line in self.text.splitlines() if f"host {host}: " in line)


def start(inventory: Mapping[str, Any], playbook: Path, directory: Path, *arguments: str, **environment: str) -> Run:
    """Run a playbook over an inventory, without a terminal and without the environment's own settings of Ansible."""
    (directory / "hosts.yml").write_text(yaml.safe_dump(dict(inventory)))
    keep = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "NO_COLOR": "1"}
    done = subprocess.run(
        [PLAYBOOK, "-i", str(directory / "hosts.yml"), str(playbook), *arguments],
        cwd=directory,
        env={**keep, **own, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr)


def host_variables(number: int) -> dict[str, Any]:
    """A host that cannot be reached: nothing listens on port 1."""
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "ansible_ssh_common_args": "-o BatchMode=yes",
        "fleet_address": f"192.0.2.{number}",
    }


@cache
def judged(role: str) -> Run:
    """One run over all cases of a role; a host without a mistake is among them."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="linda-ops-") as name:
        directory = Path(name)
        hosts = {f"{role}-good": {**host_variables(1), **GOOD[role]}}
        for number, case in enumerate((case for case in CASES if case.role == role), start=2):
            variables = {**GOOD[role], **case.variables}
            variables.pop(variables.pop("-", "-"), None)
            hosts[case.host] = {**host_variables(number), **variables}
        common = {"fleet_domain": "example.com", "fleet_environment": "test", "fleet_admin_networks": [], "scratch": str(directory)}
        playbook = directory / "check.yml"
        playbook.write_text(ONLY_CHECK.format(role=role).lstrip())
        return start({"case": {"hosts": hosts, "vars": common}}, playbook, directory)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({case.host for case in CASES}) == len(CASES)
    assert {case.role for case in CASES} == set(GOOD)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.host)
def test_refused(case: Case) -> None:
    run = judged(case.role)
    said = run.of(case.host)
    for words in case.says:
        assert words in said, f"{words!r} is not in:\n{said or run.text}"
    # Only what is wrong is refused: one message, about one variable.
    assert len(said.splitlines()) == 1, said
    assert re.search(rf"host {case.host}: \S+( = .+)? .+\. .+[.?!]( \([^)]*\))?$", said), f"no remedy in: {said}"


@pytest.mark.parametrize("role", sorted(GOOD))
class TestRole:
    """What holds for the whole run over one role."""

    def test_fails_and_leaves_good_hosts_alone(self, role: str) -> None:
        run = judged(role)
        assert run.code != 0
        assert run.of(f"{role}-good") == ""

    def test_nothing_ran_remotely(self, role: str) -> None:
        assert "unreachable" not in judged(role).text.lower()

    def test_no_secret_is_shown(self, role: str) -> None:
        text = judged(role).text
        for secret in (SECRET, "correct-horse-battery", "12345678"):
            assert secret not in text

    def test_the_place_of_the_value_is_named(self, role: str) -> None:
        case = next(case for case in CASES if case.role == role and "-" not in case.variables)
        assert re.search(r"\(hosts\.yml:\d+\)$", judged(role).of(case.host))


# --- the fleet as a whole, through the real site.yml ----------------------------------------------------------------------


@pytest.fixture
def inventory(tmp_path: Path) -> dict[str, Any]:
    """The example of a production inventory, with its secrets, on hosts that cannot be reached."""
    shutil.copytree(ROOT / "inventories" / "example" / "production" / "group_vars", tmp_path / "group_vars")
    secrets = {"certificates_ca_passphrase": "correct-horse-battery", "certificates_ca_directory": str(tmp_path / "ca")}
    (tmp_path / "group_vars" / "all" / "vault.yml").write_text(yaml.safe_dump(secrets))
    hosts: dict[str, Any] = yaml.safe_load((ROOT / "inventories" / "example" / "production" / "hosts.yml").read_text())
    for group in hosts["all"]["children"].values():
        for variables in group["hosts"].values():
            variables.update(ansible_host="127.0.0.1", ansible_port=1, ansible_ssh_common_args="-o BatchMode=yes")
    return hosts


FLEET: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "same-address": ("api", "api2", {"fleet_address": "192.0.2.21"}, ("host api2: fleet_address = ", "is the address of host api1 too.")),
    "no-address": ("edge", "edge1", {"fleet_address": None}, ("host edge1: fleet_address is not set.",)),
    "bad-address": (
        "edge",
        "edge2",
        {"fleet_address": "192.0.2.300"},
        ('host edge2: fleet_address = "192.0.2.300" is not an IPv4 or IPv6 address.',),
    ),
    "typo": ("mongodb", "mongo1", {"fleet_adress": "192.0.2.99"}, ("host mongo1: fleet_adress", "Did you mean fleet_address?")),
    "domain": ("mongodb", "mongo2", {"fleet_domain": "example..com"}, ('host mongo2: fleet_domain = "example..com" is not a DNS name',)),
    "networks": (
        "mongodb",
        "mongo3",
        {"fleet_admin_networks": ["10.0.0.1/8"]},
        ('host mongo3: fleet_admin_networks[0] = "10.0.0.1/8" is not',),
    ),
    "undefined": (
        "monitoring",
        "ops1",
        {"fleet_environment": "{{ stage }}"},
        ("host ops1: fleet_environment", "refers to stage, which is undefined"),
    ),
    "flag": (
        "api",
        "api1",
        {"fleet_allow_untested_platform": "maybe"},
        ('host api1: fleet_allow_untested_platform = "maybe" is not true or false.',),
    ),
}


def test_all_mistakes_of_a_fleet_are_one_message(inventory: dict[str, Any], tmp_path: Path) -> None:
    for group, host, variables, _says in FLEET.values():
        inventory["all"]["children"][group]["hosts"][host].update(variables)
    inventory["all"]["children"]["edge"]["hosts"]["edge1"].pop("fleet_address")
    run = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path)
    assert run.code != 0
    missing = {name: words for name, (*_where, says) in FLEET.items() for words in says if words not in run.text}
    assert not missing, run.text
    assert "unreachable" not in run.text.lower()
    assert run.text.count("Check the inventory as a whole") <= 2, "the message came more than once"


def test_an_empty_group_is_refused(inventory: dict[str, Any], tmp_path: Path) -> None:
    inventory["all"]["children"]["api"]["hosts"] = {}
    run = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path)
    assert run.code != 0
    assert "group api has no host. Put at least one host in the group api of the inventory." in run.text
    assert "unreachable" not in run.text.lower()


def test_site_stops_for_one_bad_host_before_any_host_is_touched(inventory: dict[str, Any], tmp_path: Path) -> None:
    inventory["all"]["children"]["monitoring"]["hosts"]["ops1"]["base_timezon"] = "Etc/UTC"
    run = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path)
    assert run.code != 0
    assert 'host ops1: base_timezon = "Etc/UTC" is not an input of role base. Did you mean base_timezone?' in run.text
    assert "unreachable" not in run.text.lower()


def test_variables_from_the_command_line_are_judged_too(inventory: dict[str, Any], tmp_path: Path) -> None:
    extra = ("-e", "base_timezon=Etc/UTC", "-e", "base_journal_max_days=30", "-e", "base_time_local_stratum=ten")
    run = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path, *extra)
    assert run.code != 0
    for host in ("edge1", "mongo3"):
        said = run.of(host)
        assert "base_timezon = " in said
        assert 'base_time_local_stratum = "ten" is not a whole number.' in said
        assert "base_journal_max_days" not in said, "digits from the command line are a number"
        assert "(option -e)" in said


def test_a_wrong_vault_password_is_said_plainly(inventory: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    vault = Path(PLAYBOOK).parent / "ansible-vault"
    made = subprocess.run(
        [vault, "encrypt_string", "--vault-password-file", tmp_path / "one", SECRET],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    secrets = tmp_path / "group_vars" / "all" / "vault.yml"
    kept = [line for line in secrets.read_text().splitlines() if "passphrase" not in line]
    secrets.write_text("\n".join([*kept, "certificates_ca_passphrase: " + made.stdout]))
    run = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path)
    assert run.code != 0
    assert "certificates_ca_passphrase = (secret, not shown) cannot be decrypted. Give the right vault password" in run.text
    assert "unreachable" not in run.text.lower()


def test_a_vaulted_value_is_hidden_wherever_it_is(inventory: dict[str, Any], tmp_path: Path) -> None:
    """Nothing in the specification says that these are secret; that they were encrypted does."""
    password = tmp_path / "password"
    password.write_text("one")
    vault = Path(PLAYBOOK).parent / "ansible-vault"
    command = [vault, "encrypt_string", "--vault-password-file", password, SECRET]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    cipher = "\n".join(f"      {line.strip()}" for line in made.splitlines()[1:])
    (tmp_path / "group_vars" / "monitoring.yml").write_text(
        f"---\nbase_timezone: !vault |\n{cipher}\nbase_packages: nonsense\nbase_accounts:\n  - name: !vault |\n{cipher}\n    shel: x\n"
        f"base_time_serve_to:\n  - !vault |\n{cipher}\n"
    )
    run = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path, "--vault-password-file", str(password))
    assert 'base_packages = "nonsense" is not a list.' in run.of("ops1")
    assert "base_accounts[0].shel" in run.of("ops1")
    assert 'base_time_serve_to[0] = "********" is not an address or a network.' in run.of("ops1")
    assert SECRET not in run.text
    assert "unreachable" not in run.text.lower()
    hidden = start(inventory, ROOT / "playbooks" / "site.yml", tmp_path)
    assert "base_timezone = (secret, not shown) cannot be decrypted." in hidden.of("ops1")
    assert SECRET not in hidden.text


@pytest.mark.parametrize(
    ("facts", "allowed", "says"),
    [
        (
            {"distribution": "Fedora", "distribution_version": "42"},
            False,
            "platform = Fedora 42 is not supported. Install Debian 12 or Debian 13.",
        ),
        ({"distribution": "Debian", "distribution_version": "11.9"}, True, "platform = Debian 11.9 is not supported."),
        (
            {"distribution": "Ubuntu", "distribution_version": "24.04"},
            False,
            "was never tested with this collection. Set fleet_allow_untested_platform",
        ),
    ],
    ids=["fedora", "old", "untested"],
)
def test_an_unsupported_platform_is_refused(tmp_path: Path, facts: dict[str, str], allowed: bool, says: str) -> None:
    tasks = [{"name": "Judge", "linda.ops.check_platform": None, "vars": {"ansible_facts": facts}}]
    playbook = tmp_path / "platform.yml"
    playbook.write_text(yaml.safe_dump([{"name": "Platform", "hosts": "all", "gather_facts": False, "tasks": tasks}], explicit_start=True))
    run = start({"all": {"hosts": {"web1": {**host_variables(1), "fleet_allow_untested_platform": allowed}}}}, playbook, tmp_path)
    assert run.code != 0
    assert f"host web1: platform = {facts['distribution']}" in run.text
    assert says in run.text
    assert "unreachable" not in run.text.lower()


TREE = {
    "root": ({"dest": "/", "files": [{"path": "a", "content": "x"}]}, ("dest", "/")),
    "relative": ({"dest": "etc/x", "files": [{"path": "a", "content": "x"}]}, ("dest", "etc/x")),
    "escape": ({"dest": "/etc/x", "files": [{"path": "../a", "content": "x"}]}, ("../a",)),
    "undefined": ({"dest": "/etc/x", "files": [{"path": "a", "template": "undefined.j2"}]}, ("undefined.j2:2", "no_such_thing")),
    "syntax": ({"dest": "/etc/x", "files": [{"path": "a", "template": "syntax.j2"}]}, ("syntax.j2:2",)),
    "absent": ({"dest": "/etc/x", "files": [{"path": "a", "template": "absent.j2"}]}, ("absent.j2",)),
}


def test_a_bad_tree_is_refused_before_a_connection_is_made(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "undefined.j2").write_text("first\n{{ no_such_thing }}\n")
    (tmp_path / "templates" / "syntax.j2").write_text("first\n{{ 'open' \n")
    tasks = [
        {"name": f"Lay out {name}", "linda.ops.config_tree": {"name": "x", **arguments}, "when": f"inventory_hostname == '{name}'"}
        for name, (arguments, _says) in TREE.items()
    ]
    playbook = tmp_path / "tree.yml"
    playbook.write_text(yaml.safe_dump([{"name": "Trees", "hosts": "all", "gather_facts": False, "tasks": tasks}], explicit_start=True))
    run = start({"all": {"hosts": {name: host_variables(number) for number, name in enumerate(TREE, start=1)}}}, playbook, tmp_path)
    assert run.code != 0
    assert "unreachable" not in run.text.lower(), run.text
    for name, (_arguments, says) in TREE.items():
        found = re.search(rf"^failed +{name}: .*\n((?: {{14}}.*\n)+)", run.text, re.MULTILINE)
        assert found, f"{name}: {run.text}"
        for words in says:
            assert words in found[1], json.dumps([name, words, found[1]])


# --- mistakes of the author of a role -------------------------------------------------------------------------------------

AUTHOR: dict[str, tuple[dict[str, Any], str]] = {
    "no-role": ({"role": "nothing"}, "nothing: no role of this name with a meta/argument_specs.yml was found"),
    "no-entry": ({"role": "shop", "entry_point": "mane"}, "meta/argument_specs.yml of role shop has no entry point mane"),
    "format": ({"role": "shop", "formats": {"shop_port": "prot"}}, "there is no format prot; did you mean port?"),
    "input": ({"role": "shop", "formats": {"shop_prot": "port"}}, "formats names shop_prot, which the argument specification lacks"),
    "verdict": (
        {"role": "shop", "rules": [{"that": "{{ shop_port }}", "variable": "shop_port", "problem": "p", "remedy": "r"}]},
        "the rule about shop_port is neither true nor false",
    ),
    "argument": ({"role": "shop", "format": {}}, "format"),
}


def test_mistakes_in_a_role_are_named(tmp_path: Path) -> None:
    """A role outside of any collection, whose author erred."""
    role = tmp_path / "roles" / "shop"
    for directory in ("meta", "tasks"):
        (role / directory).mkdir(parents=True)
    specs = {"argument_specs": {"main": {"options": {"shop_port": {"type": "int"}}}}}
    (role / "meta" / "argument_specs.yml").write_text(yaml.safe_dump(specs, explicit_start=True))
    tasks = [
        {"name": f"Check {name}", "linda.ops.check_inputs": arguments, "when": f"inventory_hostname == '{name}'"}
        for name, (arguments, _says) in AUTHOR.items()
    ]
    tasks.append({"name": "Check well", "linda.ops.check_inputs": {"role": "shop", "formats": {"shop_port": "port"}}})
    (role / "tasks" / "main.yml").write_text(yaml.safe_dump(tasks, explicit_start=True))
    playbook = tmp_path / "shop.yml"
    playbook.write_text(yaml.safe_dump([{"name": "Shop", "hosts": "all", "gather_facts": False, "roles": ["shop"]}], explicit_start=True))
    hosts = {name: {**host_variables(number), "shop_port": 80} for number, name in enumerate([*AUTHOR, "good"], start=1)}
    run = start({"all": {"hosts": hosts}}, playbook, tmp_path)
    assert "unreachable" not in run.text.lower()
    for name, (_arguments, says) in AUTHOR.items():
        found = re.search(rf"^failed +{name}: shop: Check {name}\n((?: {{14}}.*\n)+)", run.text, re.MULTILINE)
        assert found, f"{name}: {run.text}"
        assert says in found[1]
    assert re.search(r"^done +good ", run.text, re.MULTILINE), run.text
