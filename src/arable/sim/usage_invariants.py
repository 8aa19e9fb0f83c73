"""What must be true of usage records after every step, for `invariants.py`: they say what is, and no second twice."""

from collections.abc import Callable, Iterator
from typing import Any

Look = Callable[[str], list[Any]]
"""The rows of a query."""

_THERE = {
    "machine": "select id, account, memory_mib, cpus from machine",
    "volume": "select id, account, mib, 0 from volume",
    "address": "select id, account, 0, 0 from address where account is not null",
    "network": "select id, account, 0, 0 from network",
    "running": "select id, account, memory_mib, cpus from machine where state = 'running'",
}
_OPEN = "select thing, account, mib, cpus from usage_record where until is null and kind = '{}'"
_OFF = """
    select m.id, m.state from usage_record u join machine m on m.id = u.thing
    where u.until is null and u.kind = 'running' and m.state not in ('running', 'stopping')
"""
_TWICE = """
    select kind, thing from (
        select kind, thing, since, lag(coalesce(until, 9e18))
            over (partition by kind, thing order by number) ended
        from usage_record
    ) as each where ended > since
"""


def always(look: Look) -> Iterator[str]:
    """Rule 8."""
    for kind, rows in _THERE.items():
        there, open_ = set(look(rows)), set(look(_OPEN.format(kind)))
        yield from (f"nobody counts the {kind} {thing}" for thing in sorted(there - open_))
        if kind != "running":
            yield from (f"the {kind} {thing} is counted on" for thing in sorted(open_ - there))
    yield from (f"{thing} is {state}, and counted as running" for thing, state in look(_OFF))
    yield from (f"the {kind} {thing} is counted twice" for kind, thing in look(_TWICE))
