"""Two users besides root, for tests of what one may not do to the other: POSIX systems only, and only for root."""

import contextlib
import os

import pytest

VICTIM, ATTACKER = 12345, 54321

needs_two_users = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as two other users"
)


@contextlib.contextmanager
def acting_as(user):
    """Let the system treat what is done in the context as done by `user`, of a group of the same number."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
