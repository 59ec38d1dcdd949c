"""What is done to the cluster. Each fault breaks or changes something for real and returns, in words, what it saw; the campaign then waits
until the set has healed without a hand, and counts what the client was promised."""

from __future__ import annotations

import datetime as dt
import random
import secrets
import time
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from tests.drills.mongodb.cluster import HERE, Cluster, DrillError, wait_for

PLAYBOOKS = HERE.parents[2] / "playbooks"
# A primary that sees no majority gives up its office after ten seconds; until then it takes writes that do not ask for a majority.
CUT_SECONDS = 20.0
Fault = Callable[[Cluster, random.Random], str]


# -------------------------------------------------------------------------------------------------------------------- of processes


def kill_primary(cluster: Cluster, dice: random.Random) -> str:
    """SIGKILL for the primary's server."""
    return _kill(cluster, cluster.primary())


def kill_secondary(cluster: Cluster, dice: random.Random) -> str:
    """SIGKILL for a secondary's server."""
    return _kill(cluster, dice.choice(cluster.secondaries()))


def _kill(cluster: Cluster, host: str) -> str:
    cluster.lab.execute(host, "systemctl", "kill", "--signal=KILL", "mongod.service")
    return host


# --------------------------------------------------------------------------------------------------------------------- of networks


def cut_primary(cluster: Cluster, dice: random.Random) -> str:
    """The primary is cut off from all members, not from clients. A control that writes to it with w:1 has to lose writes."""
    host = cluster.primary()
    others = ", ".join(address for name, address in cluster.addresses.items() if name != host)
    rules = (
        "table inet drill { "
        f"chain in {{ type filter hook input priority -10; ip saddr {{ {others} }} drop; }}; "
        f"chain out {{ type filter hook output priority -10; ip daddr {{ {others} }} drop; }}; }}"
    )
    mark = dice.randrange(10**9)
    cluster.lab.execute(host, "nft", rules)
    begun, promised = time.monotonic(), 0
    try:
        with cluster.client(host, socketTimeoutMS=3000, retryWrites=False) as client:
            control = client.drill.get_collection("control", write_concern=WriteConcern(w=1))
            while time.monotonic() - begun < CUT_SECONDS:
                try:
                    control.insert_one({"mark": mark, "number": promised})
                except PyMongoError:
                    break
                promised += 1
                time.sleep(0.01)
        elected = [name for name in cluster.members if name != host]
        wait_for(lambda: any(cluster.states()[name] == "primary" for name in elected), 60, "the others elect a primary")
        time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - begun)))
    finally:
        cluster.lab.execute(host, "nft", "delete table inet drill")
    cluster.wait_until_healthy("the network is back")
    with cluster.client(cluster.primary()) as client:
        kept = client.drill.control.count_documents({"mark": mark})
    if promised - kept < 1:
        raise DrillError(f"The control lost none of {promised} writes with w:1: this drill would not notice a loss.")
    return f"{host}; the control lost {promised - kept} of {promised} writes with w:1"


# ------------------------------------------------------------------------------------------------------- of disks and certificates


def full_disk(cluster: Cluster, dice: random.Random) -> str:
    """The disk of a secondary fills up until its server gives up, and has room again later."""
    host = dice.choice(cluster.secondaries())
    cluster.lab.execute(host, "sh", "-c", "dd if=/dev/zero of=/var/lib/mongodb/fill bs=1M status=none || true")
    try:
        wait_for(lambda: cluster.states()[host] != "secondary", 90, f"the server on {host} notices that its disk is full")
        words = f"{host} gave up"
    except DrillError:
        words = f"{host} went on with what it had reserved"
    finally:
        cluster.lab.execute(host, "rm", "-f", "/var/lib/mongodb/fill")
    return words


def expired_certificate(cluster: Cluster, dice: random.Random) -> str:
    """A member starts with a certificate that is over, and gets a new one by the next run of the role."""
    host = dice.choice(cluster.secondaries())
    live = "/etc/linda/certificates/host"
    old = _expired(cluster, cluster.lab.execute(host, "cat", f"{live}/cert.pem"))
    authority = cluster.lab.execute(host, "cat", f"{live}/ca.pem")
    for name, text in (("cert.pem", old), ("fullchain.pem", old + authority)):
        cluster.lab.execute(host, "sh", "-euc", f'printf %s "$1" > {live}/{name}', "sh", text)
    _kill(cluster, host)
    wait_for(lambda: not cluster.healthy(), 60, f"the others refuse the expired certificate of {host}")
    cluster.play(HERE / "converge.yml")
    return host


def _expired(cluster: Cluster, pem: str) -> str:
    """The same certificate, over since yesterday."""
    present = x509.load_pem_x509_certificate(pem.encode())
    key = load_pem_private_key((cluster.lab.state / "ca" / "ca.key").read_bytes(), cluster.secret("certificates_ca_passphrase").encode())
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        present.issuer,
        present.subject,
        present.public_key(),
        x509.random_serial_number(),
        now - dt.timedelta(days=30),
        now - dt.timedelta(days=1),
        list(present.extensions),
    )
    return builder.sign(key, hashes.SHA384()).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------------------- by us


def rolling_restart(cluster: Cluster, dice: random.Random) -> str:
    """Every member is restarted, one after the other."""
    return f"{cluster.play(PLAYBOOKS / 'mongodb_restart.yml'):.0f} s"


def rotate_keyfile(cluster: Cluster, dice: random.Random) -> str:
    """A new key file, in three rounds. The role's own run afterwards has nothing to do.

    The faults that kill a rotation leave the old key in the description, as an operator does who forgets the runbook's last line.
    """
    _describe_new_key(cluster)
    seconds = cluster.play(PLAYBOOKS / "rotate_mongodb_keyfile.yml")
    cluster.describe(mongodb_keyfile_previous="")
    started = cluster.started()
    cluster.play(HERE / "converge.yml")
    if cluster.started() != started:
        raise DrillError("The role restarted members after the rotation was over.")
    return f"{seconds:.0f} s"


def _describe_new_key(cluster: Cluster) -> None:
    present = cluster.description.get("mongodb_keyfile") or cluster.secret("mongodb_keyfile")
    cluster.describe(mongodb_keyfile=secrets.token_urlsafe(500).replace("-", "+").replace("_", "/"), mongodb_keyfile_previous=present)


def upgrade(cluster: Cluster, dice: random.Random) -> str:
    """To 6.0.27, one member after the other."""
    before = cluster.versions()
    cluster.describe(mongodb_version="6.0.27")
    seconds = cluster.play(PLAYBOOKS / "mongodb_upgrade.yml")
    if cluster.versions() != {"6.0.27"}:
        raise DrillError(f"After the upgrade the members run {cluster.versions()}.")
    return f"{', '.join(sorted(before))} -> 6.0.27 in {seconds:.0f} s"


def raise_feature_compatibility(cluster: Cluster, dice: random.Random) -> str:
    """The step that closes a major upgrade."""
    cluster.play(PLAYBOOKS / "mongodb_feature_compatibility.yml", "-e", "mongodb_feature_compatibility=6.0")
    with cluster.client(cluster.primary()) as client:
        found = client.admin.command("getParameter", featureCompatibilityVersion=1)["featureCompatibilityVersion"]["version"]
    if found != "6.0":
        raise DrillError(f"The feature compatibility version is {found}.")
    return "6.0"


def climb_to_x509(cluster: Cluster, dice: random.Random) -> str:
    """To required TLS and membership by certificate, a round each, from wherever the set is. The client changes to TLS in between."""
    seconds = 0.0
    if not cluster.tls:
        cluster.describe(mongodb_tls_mode="preferTLS", mongodb_cluster_auth_mode="keyFile")
        seconds += cluster.play(PLAYBOOKS / "mongodb_tls.yml")
        cluster.stop_writing()
        cluster.start_writing()
    cluster.describe(mongodb_tls_mode="requireTLS", mongodb_cluster_auth_mode="x509")
    seconds += cluster.play(PLAYBOOKS / "mongodb_tls.yml")
    for host in cluster.members:
        with cluster.client(host) as client:
            found = client.admin.command("getParameter", tlsMode=1, clusterAuthMode=1)
        if (found["tlsMode"], found["clusterAuthMode"]) != ("requireTLS", "x509"):
            raise DrillError(f"{host} runs with {found['tlsMode']}/{found['clusterAuthMode']}.")
    return f"{seconds:.0f} s"


def grow_and_shrink(cluster: Cluster, dice: random.Random) -> str:
    """Three members become five, and three again."""
    added = ["mongo4", "mongo5"]
    cluster.lab.cli("up", "--fleet", str(HERE / "fleet.yml"), *added)
    cluster.members += added
    cluster.prepare(added)
    cluster.describe()
    cluster.play(HERE / "converge.yml")
    cluster.wait_until_healthy("growing to five")
    cluster.leave_out(added)
    cluster.play(HERE / "converge.yml")
    for host in added:
        cluster.lab.execute(host, "systemctl", "disable", "--now", "mongod.service")
        cluster.lab.execute(host, "find", "/var/lib/mongodb", "-mindepth", "1", "-delete")
    return "3 -> 5 -> 3"


def replace_host(cluster: Cluster, dice: random.Random) -> str:
    """A member's host loses everything and is set up anew."""
    host = dice.choice(cluster.secondaries())
    cluster.lab.execute(host, "systemctl", "stop", "mongod.service")
    cluster.lab.execute(host, "find", "/var/lib/mongodb", "-mindepth", "1", "-delete")
    cluster.play(HERE / "converge.yml")
    return host


def controller_killed(playbook: str, seconds: float, prepare: Callable[[Cluster], None] = lambda cluster: None, *options: str) -> Fault:
    """A run that dies at a random moment within `seconds`, and the same command again."""

    def act(cluster: Cluster, dice: random.Random) -> str:
        prepare(cluster)
        delay = dice.uniform(0, seconds)
        arguments = [*options, "-e", f"mongodb_rolling_restarted_after={time.time()}"] if "restart" in playbook else list(options)
        path = HERE / playbook if playbook == "converge.yml" else PLAYBOOKS / playbook
        killed = cluster.play_and_kill(path, delay, *arguments)
        again = cluster.play(path, *arguments)
        return f"{playbook} {'killed' if killed else 'over'} after {delay:.1f} s, again in {again:.0f} s"

    return act


FAULTS: Mapping[str, Fault] = {
    "kill-primary": kill_primary,
    "kill-secondary": kill_secondary,
    "cut-primary": cut_primary,
    "full-disk": full_disk,
    "expired-certificate": expired_certificate,
    "rolling-restart": rolling_restart,
    "rotate-keyfile": rotate_keyfile,
    "upgrade": upgrade,
    "feature-compatibility": raise_feature_compatibility,
    "tls-to-x509": climb_to_x509,
    "grow-and-shrink": grow_and_shrink,
    "replace-host": replace_host,
    "killed-restart": controller_killed("mongodb_restart.yml", 40),
    "killed-upgrade": controller_killed("mongodb_upgrade.yml", 50, lambda cluster: cluster.describe(mongodb_version="6.0.27")),
    "killed-rotation": controller_killed("rotate_mongodb_keyfile.yml", 100, _describe_new_key),
    "killed-converge": controller_killed("converge.yml", 20),
}
