"""The short form of the drills of MongoDB: real faults, a change that dies, and an upgrade, under a client that writes all the time."""

from __future__ import annotations

import random

import pytest

from tests.drills.mongodb.campaign import SHORT, Chapter, run
from tests.support.ansible import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_no_acknowledged_write_is_lost_and_every_fault_heals_without_a_hand(capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    with capsys.disabled():  # a line for each fault, with its figures
        records = run([Chapter("The short form", SHORT)], Lab("drill"), seed)
    assert [record.name for record in records] == list(SHORT)
