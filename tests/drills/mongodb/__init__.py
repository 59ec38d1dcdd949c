"""Drills of MongoDB: faults, rotations and upgrades on a live replica set, while a client writes with w:majority all the time.

``python -m tests.drills.mongodb`` runs the long form, ``--short`` what ``make test`` runs.
"""
