"""Runs in a network of its own (see test_firewall_rules.py): a host behind the role's rules, and a client on the other end of a cable.

The network and all it holds is gone with this process. What was seen goes to standard output as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HOST = {"4": "198.18.251.1", "6": "fd5a:1::1"}
CLIENT = {"4": "198.18.251.2", "6": "fd5a:1::2"}
WIDTH = {"4": 30, "6": 64}
OPEN, SHUT = 8080, 9090
ATTEMPTS = 10_000
RELOADS = 20
# An answer on a cable without length takes well under a millisecond; a dropped attempt has none to wait for.
PATIENCE = 0.2


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


@contextlib.contextmanager
def cable() -> Iterator[int]:
    """A second network, joined to this one; yields a process that is in it."""
    other = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "300"])
    try:
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{other.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < end
            time.sleep(0.01)  # nothing tells that a process has entered its namespace
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(other.pid))
        for prefix, device, own in (((), "here", HOST), (("nsenter", f"--net=/proc/{other.pid}/ns/net"), "there", CLIENT)):
            for family, address in own.items():
                options = ("nodad",) if family == "6" else ()
                run(*prefix, "ip", f"-{family}", "address", "add", f"{address}/{WIDTH[family]}", "dev", device, *options)
            run(*prefix, "ip", "link", "set", device, "up")
        yield other.pid
    finally:
        other.kill()
        other.wait()


def serve() -> None:
    """Echo on both ports and both families, for ever."""
    for port in (OPEN, SHUT):
        for family, address in ((socket.AF_INET, HOST["4"]), (socket.AF_INET6, HOST["6"])):
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(1024)
            threading.Thread(target=accept, args=(listener,), daemon=True).start()


def accept(listener: socket.socket) -> None:
    while True:
        taken, _peer = listener.accept()
        threading.Thread(target=echo, args=(taken,), daemon=True).start()


def echo(taken: socket.socket) -> None:
    with taken:
        while word := taken.recv(64):
            taken.sendall(word)


def host(rules: list[Path]) -> dict[str, object]:
    """Load the first rules, open connections, load rules in turn while the client tries, and count."""
    with cable() as other:
        serve()
        argv = ["nsenter", f"--net=/proc/{other}/ns/net", sys.executable, __file__, "client"]
        client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "connected\n"
            run("nft", "--file", str(rules[0]))
            client.stdin.write("go\n")
            client.stdin.flush()
            reloads = 0
            while client.poll() is None and reloads < RELOADS:
                reloads += 1
                run("nft", "--file", str(rules[reloads % 2]))
                time.sleep(0.1)
            seen: dict[str, object] = json.loads(client.communicate(timeout=60)[0])
        finally:
            client.kill()
            client.wait()
        listed = subprocess.run(
            ["nft", "--json", "list", "counter", "inet", "linda_firewall", "dropped_input"], capture_output=True, text=True, check=True
        )
        return seen | {"reloads": reloads, "dropped": json.loads(listed.stdout)["nftables"][1]["counter"]["packets"]}


def client() -> dict[str, object]:
    """Hold a connection of each family from before the first rules, then try both ports many times."""
    held = [socket.create_connection((address, OPEN), timeout=5) for address in HOST.values()]
    before = leaks(10)
    print("connected", flush=True)
    sys.stdin.readline()
    passed, refused, leaked = 0, [], 0
    begun = time.monotonic()
    for number in range(ATTEMPTS * 9 // 10):
        address = HOST["46"[number % 2]]
        try:
            with socket.create_connection((address, OPEN), timeout=5) as one:
                passed += 1
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # by reset, so that ports do not run out
        except OSError as error:
            refused.append(f"{address} after {time.monotonic() - begun:.2f} s: {error}")
        if number % 900 == 0:
            leaked += leaks(ATTEMPTS // 100)
    alive = 0
    for one in held:
        one.settimeout(5)
        with contextlib.suppress(OSError):
            one.sendall(b"still here")
            alive += one.recv(64) == b"still here"
    return {"before": before, "passed": passed, "refused": refused, "leaked": leaked, "alive": alive, "held": len(held)}


def leaks(count: int) -> int:
    """How many of so many attempts at the closed port got through."""
    tried = []
    for number in range(count):
        address = HOST["46"[number % 2]]
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        one.setblocking(False)
        one.connect_ex((address, SHUT))
        tried.append(one)
    time.sleep(PATIENCE)
    _readable, ready, _broken = select.select([], tried, [], 0)
    through = sum(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for one in ready)
    for one in tried:
        one.close()
    return through


if __name__ == "__main__":
    print(json.dumps(client() if sys.argv[1] == "client" else host([Path(word) for word in sys.argv[2:]])), flush=True)
