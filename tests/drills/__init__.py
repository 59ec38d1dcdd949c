"""Drills: real faults on real machines, with a client that writes all the time and counts what it was promised."""
