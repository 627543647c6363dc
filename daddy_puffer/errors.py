"""The one exception a person is meant to read.

Raise `UserError` for bad input (missing ROM, corrupt state, unknown config key, dead worker): command lines
print its message as one line and leave with exit code 1, without a traceback. Knows nothing else.
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input from outside. The message is one line and says what to do about it."""
