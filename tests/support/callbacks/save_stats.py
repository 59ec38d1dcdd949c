"""Writes Ansible's recap as JSON to the file named by LINDA_OPS_STATS_FILE. Enabled by tests/support/ansible.py only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: save_stats
type: aggregate
short_description: Writes the recap as JSON
description:
  - For tests that judge a run by its counts.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible ships no type information
    """What Ansible loads."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "save_stats"

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Ansible's end of a run."""
        recap = {host: stats.summarize(host) for host in stats.processed}
        Path(os.environ["LINDA_OPS_STATS_FILE"]).write_text(json.dumps(recap), encoding="utf-8")
