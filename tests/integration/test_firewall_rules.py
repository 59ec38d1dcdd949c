"""The role's rules in the kernel: reloads lose no connection and open nothing, over IPv4 and IPv6."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import firewall_inside
import jinja2
import pytest
from ansible_collections.linda.ops.plugins.filter.firewall_egress import firewall_egress
from ansible_collections.linda.ops.plugins.filter.firewall_rules import firewall_rules

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "roles/firewall/templates/etc/linda/firewall/rules.nft.j2"
CLIENTS = [f"{firewall_inside.CLIENT['4']}/32", f"{firewall_inside.CLIENT['6']}/128"]
EGRESS = [{"name": "resolvers", "port": 53, "proto": "udp", "to": ["192.0.2.53", "::/0"]}]

# A person without root can run the rest of the stage; CI is root.
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes networks, which root may")


def rules(directory: Path, *ports: dict[str, Any], **policies: Any) -> Path:
    """The file that the role would install."""
    text = jinja2.Template(TEMPLATE.read_text(), trim_blocks=True)
    variables = {
        "firewall_log_rate": "10/minute",
        "firewall_forward_policy": "drop",
        "firewall_egress_policy": "accept",
        "firewall_admin_ports": [22],
        **policies,
    }
    made = directory / f"{len(list(directory.iterdir()))}.nft"
    derived = firewall_rules(list(ports), ["192.0.2.0/24"], [22])
    made.write_text(text.render(**variables, __firewall_rules=derived, __firewall_egress=firewall_egress(EGRESS)))
    return made


def port(number: int, *sources: str, proto: str = "tcp") -> dict[str, Any]:
    return {"role": "web", "name": f"port-{number}", "port": number, "proto": proto, "sources": list(sources)}


@pytest.mark.parametrize("egress", ["accept", "drop"])
def test_reloads_lose_nothing_and_open_nothing(tmp_path: Path, egress: str) -> None:
    """10,000 attempts during 20 reloads, and two connections that are older than the first rules."""
    one = rules(tmp_path, port(firewall_inside.OPEN, *CLIENTS), firewall_egress_policy=egress)
    other = rules(tmp_path, port(firewall_inside.OPEN, *CLIENTS), port(7000, "0.0.0.0/0", "::/0"), firewall_egress_policy=egress)
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", sys.executable, firewall_inside.__file__, "host", str(one), str(other)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["before"] == 10, "without rules everybody gets through, or the rest proves nothing"
    assert seen["refused"] == []
    assert seen["passed"] == firewall_inside.ATTEMPTS * 9 // 10
    assert (seen["leaked"], seen["alive"]) == (0, seen["held"])
    assert seen["reloads"] == firewall_inside.RELOADS
    assert seen["dropped"] >= firewall_inside.ATTEMPTS // 10, "what was dropped is counted"


def test_every_form_of_a_rule_is_taken(tmp_path: Path) -> None:
    forms = [
        port(1, "0.0.0.0/0", "::/0"),
        port(2, "192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32", "2001:db8:1::/48"),
        port(3, "0.0.0.0/0"),
        port(4, "::/0", "192.0.2.7", proto="udp"),
        port(5),
    ]
    made = rules(tmp_path, *forms, firewall_egress_policy="drop", firewall_forward_policy="accept")
    # Loaded twice, as at every reload.
    load = ["unshare", "--net", "sh", "-euc", 'nft --file "$1"; nft --file "$1"; nft list ruleset', "sh", str(made)]
    done = subprocess.run(load, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in (
        'tcp dport 1 accept comment "web port-1"',
        'ip saddr 192.0.2.0/24 tcp dport 2 accept comment "web port-2"',
        'ip6 saddr 2001:db8::/32 tcp dport 2 accept comment "web port-2"',
        'meta nfproto ipv4 tcp dport 3 accept comment "web port-3"',
        'ip saddr 192.0.2.7 udp dport 4 accept comment "web port-4"',
        'meta nfproto ipv6 udp dport 4 accept comment "web port-4"',
        'ip daddr 192.0.2.53 udp dport 53 accept comment "resolvers"',
    ):
        assert done.stdout.count(line) == 1, (line, done.stdout)
    assert "port-5" not in done.stdout, "nobody was named, so nobody gets in"
