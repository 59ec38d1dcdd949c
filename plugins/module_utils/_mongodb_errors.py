# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one exception family of the MongoDB modules."""

from __future__ import annotations


class MongodbError(Exception):
    """A refusal or a failure with a code that does not change between releases.

    ``code`` is one lower-case word with underscores for programs (``failed_when``, tests, runbooks); the message is for people
    and names the thing that is wrong and the remedy. Neither ever holds a password.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
