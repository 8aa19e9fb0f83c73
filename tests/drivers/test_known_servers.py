"""Which servers a new haproxy takes for failed: those that the one before did, unless nobody would be left."""

from types import SimpleNamespace
from typing import Any

import pytest

from arable.drivers.appliance.haproxy import _known, _name, _servers

HEAD = "1\n# be_id be_name srv_id srv_name srv_addr"
A, B, C = (f"4 balancer-1 {n} nic-{n} 10.0.0.{n} 0 0 1" for n in (1, 2, 3))


def balancer(*nics: int) -> Any:
    return SimpleNamespace(
        id="balancer-1", servers=tuple(SimpleNamespace(nic=f"nic-{n}") for n in nics)
    )


@pytest.mark.parametrize(
    ("failed", "nics", "names"),
    [
        ((A,), (1, 2), ["balancer-1/nic-1"]),
        ((A, B), (1, 2), []),  # all failed: all are used
        ((A, B), (1, 2, 3), ["balancer-1/nic-1", "balancer-1/nic-2"]),
        ((C,), (1, 2), []),  # it is no member any more
        ((), (1, 2), []),
    ],
)
def test_those_that_failed_are_known_unless_all_did(failed, nics, names) -> None:
    said = "\n".join([HEAD, *failed, ""])
    known = _known(said, [balancer(*nics)])
    assert [_name(line) for line in _servers(known)] == names
    assert not known or known.startswith(HEAD)


def test_where_nothing_was_kept_nothing_is_known() -> None:
    assert _known("", [balancer(1)]) == ""
