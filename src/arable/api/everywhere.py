"""Lists of all regions at once: `Arable-Region: all` beside a list, merged into one page that says of whom it is.

Only regions are asked that said that the caller's account may be asked for there, some at a time, and nobody is waited
for beyond a deadline: a region that can't be reached, or does not answer in time, is named with how old what is known
of it is. A page's cursor holds each region's own.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from arable.domain.errors import BadInput, CloudError
from arable.domain.region import ago
from arable.services.elsewhere import Near
from arable.wire.grid import PassOut

DEADLINE = 10.0
"""Seconds for all of them together."""
_LIMIT = 100
_MOST = 1000
_NUMBER = re.compile(r"[0-9]{1,4}")

Ask = Callable[[Near, str], Awaitable[PassOut]]
"""Ask a region with a query."""


class _Page(msgspec.Struct):
    items: list[dict[str, Any]]
    next: str | None = None


class RegionPart(msgspec.Struct, frozen=True, kw_only=True):
    """How one region's part of a list came about. `told` is empty: all is well."""

    region: str
    state: str
    as_of: datetime | None
    count: int = 0
    told: str = ""


class EverywherePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of all regions: each item says its region."""

    items: list[dict[str, Any]]
    next: str | None = None
    regions: list[RegionPart] = []


async def everywhere(
    near: Sequence[Near], query: str, ask: Ask, now: datetime, deadline: float = DEADLINE
) -> EverywherePage:
    """One page. Raises what the caller's own region refuses: a misspelt query is nobody else's fault."""
    said = parse_qsl(query, keep_blank_values=True)
    cursors = _cursors(next((value for name, value in said if name == "after"), None))
    limit = next((value for name, value in said if name == "limit"), str(_LIMIT))
    if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= _MOST:
        raise BadInput(f"must be a whole number from 1 to {_MOST}", field="limit")
    others = [(name, value) for name, value in said if name not in ("after", "limit")]
    wanted = [each for each in near if cursors is None or each.region in cursors]
    share = max(1, int(limit) // max(1, len(wanted)))

    async def asked(each: Near) -> PassOut:
        after = (cursors or {}).get(each.region, "")
        parts = [*others, ("limit", str(share)), *((("after", after),) if after else ())]
        return await ask(each, urlencode(parts))

    tasks = {each.region: asyncio.ensure_future(asked(each)) for each in wanted if not each.why}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=deadline)
    items: list[dict[str, Any]] = []
    left: dict[str, str] = {}
    parts = []
    for each in near:
        if each.why or each.region not in tasks:
            parts.append(_part(each, now, told=each.why))
            continue
        try:
            page = _page(each, tasks[each.region], deadline)
        except CloudError as error:
            if each.own:
                raise
            parts.append(_part(each, now, told=error.public))
            continue
        items += [{"region": each.region, **item} for item in page.items]
        if page.next is not None:
            left[each.region] = page.next
        parts.append(_part(each, now, count=len(page.items)))
    return EverywherePage(items=items, next=_cursor(left) if left else None, regions=parts)


def _page(each: Near, task: "asyncio.Future[PassOut]", deadline: float) -> _Page:
    if not task.done():
        task.cancel()
        raise _NoAnswer(f"no answer within {deadline:.0f} s")
    try:
        answer = task.result()
    except CloudError:
        raise
    except Exception as error:
        raise _NoAnswer("the question could not be asked", detail=repr(error)) from error
    if answer.status != 200:
        raise _refused(answer)
    try:
        return msgspec.json.decode(answer.body, type=_Page)
    except msgspec.DecodeError as error:
        raise _NoAnswer(f"what {each.region} answered is not understood") from error


class _NoAnswer(CloudError):
    """Of a region that was asked."""


def _refused(answer: PassOut) -> CloudError:
    try:
        told: Mapping[str, Any] = msgspec.json.decode(answer.body)
        detail = str(told.get("detail") or told.get("title"))
        fields = told.get("errors") or [{}]
        if answer.status < 500:
            return BadInput(detail, field=str(fields[0].get("field", "")))
    except (msgspec.DecodeError, AttributeError, LookupError, TypeError):
        detail = f"it answered {answer.status}"
    return _NoAnswer(detail)


def _part(each: Near, now: datetime, *, count: int = 0, told: str = "") -> RegionPart:
    """`as_of` is now for who answered; else when the region was last heard."""
    if not told:
        return RegionPart(region=each.region, state="reached", as_of=now, count=count)
    heard = f"last heard {ago(now - each.as_of)} ago" if each.as_of else "never heard"
    return RegionPart(
        region=each.region, state=each.state, as_of=each.as_of, told=f"{told}; {heard}"
    )


def _cursor(left: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(left)).decode().rstrip("=")


def _cursors(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=dict[str, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise BadInput("not a cursor of this list", field="after") from error
