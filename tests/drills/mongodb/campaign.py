"""Which faults come in which order, and what is counted."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.drills.mongodb.cluster import DESCRIPTION, Cluster, DrillError
from tests.drills.mongodb.faults import FAULTS
from tests.support.ansible import Lab

SHORT: Sequence[str] = ("kill-primary", "kill-secondary", "cut-primary", "killed-restart", "upgrade")


@dataclass(frozen=True)
class Record:
    """One fault: what was seen, the longest time without an acknowledged write, and the time until all was well again (seconds)."""

    name: str
    detail: str
    gap: float
    healed: float


@dataclass(frozen=True)
class Chapter:
    """Faults on one set. `description` is how the set is described at first, `names` what happens to it, in order."""

    title: str
    names: Sequence[str]
    description: dict[str, object] = field(default_factory=dict)


def chapters(dice: random.Random) -> list[Chapter]:
    """The long form: every kind of fault, and a random mixture up to more than a hundred."""
    mixture = [
        *["kill-primary"] * 24,
        *["kill-secondary"] * 20,
        *["cut-primary"] * 8,
        *["full-disk"] * 4,
        *["expired-certificate"] * 3,
        *["replace-host"] * 3,
        *["rolling-restart"] * 2,
        *["rotate-keyfile"],
        *["grow-and-shrink"],
        *["killed-restart"] * 7,
        *["killed-rotation"] * 2,
        *["killed-converge"] * 10,
    ]
    dice.shuffle(mixture)
    around = ["kill-primary", "kill-secondary", "kill-primary"]
    return [
        Chapter(
            "From no TLS to membership by certificate",
            ["tls-to-x509", *around],
            {"mongodb_tls_mode": "disabled", "mongodb_cluster_auth_mode": "keyFile"},
        ),
        # Members know each other by the key file here, so that its rotation means something.
        Chapter("6.0.5 -> 6.0.27", [*around, *mixture, "killed-upgrade", "upgrade"], {"mongodb_cluster_auth_mode": "keyFile"}),
        Chapter(
            "5.0.4 -> 6.0.27 with its feature compatibility version",
            [*around, "upgrade", *around, "feature-compatibility", *around],
            {"mongodb_version": "5.0.4"},
        ),
    ]


def without_first(chosen: Sequence[Chapter], count: int) -> list[Chapter]:
    """The chapters without their first `count` faults, to go on where an earlier run stopped."""
    rest = []
    for chapter in chosen:
        kept, count = chapter.names[count:], max(0, count - len(chapter.names))
        if kept:
            rest.append(replace(chapter, names=kept))
    return rest


def run(chosen: Sequence[Chapter], lab: Lab, seed: int) -> list[Record]:
    """Go through chapters, print a line for each fault, and compare the journal at the end of each.

    :raises DrillError: when the cluster does not heal, or an acknowledged write is lost.
    """
    dice = random.Random(seed)  # noqa: S311 - moments and choices of a drill, named so that it can be repeated
    records: list[Record] = []
    print(f"seed {seed}", flush=True)
    for chapter in chosen:
        cluster = Cluster(lab, {**DESCRIPTION, **chapter.description})
        try:
            print(f"\n{chapter.title}", flush=True)
            begun = time.monotonic()
            cluster.up()
            print(f"  the set is up after {time.monotonic() - begun:.0f} s", flush=True)
            cluster.start_writing()
            for name in chapter.names:
                records.append(inflict(cluster, name, dice))
            judge(cluster, begun)
        finally:
            cluster.down()
    return records


def inflict(cluster: Cluster, name: str, dice: random.Random) -> Record:
    """One fault, from whole to whole."""
    begun = time.time()
    try:
        detail = FAULTS[name](cluster, dice)
        cluster.wait_until_healthy(name)
    except DrillError as error:
        raise DrillError(f"{name}: {error}") from error
    ended = time.time()
    record = Record(name, detail, cluster.journal().longest_gap(begun, ended), ended - begun)
    print(f"  {name:<22} gap {record.gap:5.1f} s   whole again after {record.healed:5.1f} s   {detail}", flush=True)
    return record


def judge(cluster: Cluster, begun: float) -> None:
    """Nothing that was acknowledged may be missing."""
    cluster.stop_writing()
    journal, lost = cluster.journal(), cluster.lost()
    print(
        f"  {len(journal.acknowledged)} writes acknowledged, {journal.refused} refused, {len(lost)} lost, "
        f"in {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    if not journal.acknowledged:
        raise DrillError("The client wrote nothing; this drill proves nothing.")
    if lost:
        raise DrillError(f"{len(lost)} acknowledged writes are lost: {lost[:10]}")
