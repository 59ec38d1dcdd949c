"""The command line of the drills."""

from __future__ import annotations

import argparse
import random
import sys

from tests.drills.mongodb.campaign import SHORT, Chapter, chapters, run, without_first
from tests.drills.mongodb.cluster import DrillError
from tests.drills.mongodb.faults import FAULTS
from tests.support.ansible import Lab


def main() -> int:
    """Run what is asked for; 0 when every promise was kept, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills.mongodb", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the form that make test runs")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", choices=list(FAULTS), help="only this fault (repeatable)")
    parser.add_argument("--tls-mode", default="", help="with --only: the TLS mode that the set starts with")
    parser.add_argument("--version", default="", help="with --only: the version that the set starts with")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of an earlier run")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="with --seed: leave out the first N faults")
    parser.add_argument("--name", default="drill", help="name of the lab (drill)")
    arguments = parser.parse_args()
    if arguments.list:
        for name, fault in FAULTS.items():
            print(f"{name:<22} {(fault.__doc__ or 'A run dies at a random moment, and is repeated.').splitlines()[0]}")
        return 0
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    chosen = chapters(random.Random(seed))  # noqa: S311 - see campaign.run
    if arguments.short:
        chosen = [Chapter("The short form", SHORT)]
    elif arguments.only:
        start = {"mongodb_version": arguments.version} if arguments.version else {}
        if arguments.tls_mode:
            start |= {"mongodb_tls_mode": arguments.tls_mode, "mongodb_cluster_auth_mode": "keyFile"}
        chosen = [Chapter("Only " + ", ".join(arguments.only), arguments.only, dict(start))]
    chosen = without_first(chosen, arguments.skip)
    try:
        records = run(chosen, Lab(arguments.name), seed)
    except DrillError as error:
        print(f"\nFAILED: {error}\nRepeat with --seed {seed}.", file=sys.stderr)
        return 1
    worst = max(records, key=lambda record: record.gap)
    print(f"\n{len(records)} faults, nothing lost, all healed without a hand; the longest gap was {worst.gap:.1f} s ({worst.name}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
