"""Signing in, signing out, and what tokens are worth."""

import pytest
from serving import PASSWORD

from arable.client import errors
from arable.wire.users import KeyIn, PasswordIn, SessionIn, UserChange, UserIn


def test_the_first_operator_signs_in_and_is_told_who_they_are(served_both):
    me = served_both.operator.users.whoami()
    assert (me.name, me.role, me.path) == ("operator", "operator", "root")
