"""What grid operators told this region to do is done here, once, by the master; how far it is, the grid hears as a fact.

The row that says it was taken is written in the transaction that does it, under the master's fence: whoever comes again,
late or as an old master, finds the row or is refused. What it was refused for is written down as well, and final.
"""

import base64
import binascii
import logging
from datetime import datetime
from typing import Any, Protocol

from arable.domain.errors import CloudError
from arable.domain.event import Event
from arable.domain.instruction import (
    MAY,
    Instruction,
    InstructionKind,
    InstructionState,
    refusal,
)
from arable.domain.region import MANAGER, Fact, FactKind
from arable.runtime.ca import signed_by
from arable.store import events, grid_facts, grid_members, instructions, settings
from arable.store.database import Tx
from arable.store.grid_members import TOPIC, Link
from arable.store.nudges import nudge

log = logging.getLogger(__name__)

SECONDS = 5
MOST = 20
"""Instructions that are begun in one round."""
_TOLD = 1000


class Hands(Protocol):
    """What can be done for grid operators (`services/grid_instructions.py`; controllers know no services)."""

    def begin(self, tx: Tx, one: Instruction, /) -> tuple[InstructionState, str]:
        """Do it. Raises what it is refused for."""

    def progress(self, tx: Tx, one: Instruction, /) -> tuple[InstructionState, str]:
        """How far it is."""


def attend(hands: Hands, tx: Tx, at: datetime) -> int:
    """One round; how many were begun, or came further."""
    link = grid_members.link(tx)
    if link is None:
        return 0
    facts = {fact.body["id"]: fact for fact in grid_facts.of(tx, MANAGER, FactKind.INSTRUCTION)}
    done = _go_on(hands, tx, link, set(facts), at)
    known = instructions.known(tx, facts) if facts else set()
    new = [fact for id_, fact in facts.items() if id_ not in known]
    for fact in sorted(new, key=lambda each: each.body["number"])[:MOST]:
        _begin(hands, tx, link, fact, at)
        done += 1
    if done:
        nudge(tx, TOPIC)
    return done


def _begin(hands: Hands, tx: Tx, link: Link, fact: Fact, at: datetime) -> None:
    try:
        one, signature = _read(fact.body)
    except (ValueError, KeyError, binascii.Error):
        log.warning("an instruction of the grid manager can't be read: %s", fact.key)
        return
    signed = any(signed_by(each, one.signed(), signature) for each in link.authorities)
    refused = refusal(
        one,
        region=link.region,
        follows=settings.get(tx, MAY[one.kind]) == "yes",
        signed=signed,
        now=at,
    )
    if refused is not None:
        state, told = refused
    else:
        try:
            with tx.begin_nested():
                state, told = hands.begin(tx, one)
        except CloudError as error:
            state, told = InstructionState.FAILED, error.public[:_TOLD]
    instructions.take(tx, one, state, told, at)
    _tell(tx, one, state, told, at)


def _go_on(hands: Hands, tx: Tx, link: Link, given: set[str], at: datetime) -> int:
    count = 0
    for row in instructions.running(tx):
        one = instructions.one(row, link.region)
        state, told = hands.progress(tx, one)
        if state is InstructionState.RUNNING:
            if row.id not in given:
                state, told = InstructionState.CANCELLED, f"taken back; {told}"
            elif at >= one.expires_at:
                state, told = InstructionState.EXPIRED, f"its time is over; {told}"
        if (str(state), told) == (row.state, row.told):
            continue
        count += 1
        instructions.tell(tx, row.id, state, told[:_TOLD], at)
        if state is not InstructionState.RUNNING:
            _tell(tx, one, state, told, at)
    return count


def _tell(tx: Tx, one: Instruction, state: InstructionState, told: str, at: datetime) -> None:
    """Operators of this region see who told it to do what."""
    text = f"the grid's operator {one.given_by} said: {one.kind} {one.subject}; {state}"
    text += f": {told}" if told else ""
    event = Event(at=at, account=None, kind=f"grid.instruction-{state}", subject="grid", text=text)
    events.add_many(tx, [event])


def _read(body: Any) -> tuple[Instruction, bytes]:
    return Instruction(
        id=body["id"],
        region=body["region"],
        number=body["number"],
        kind=InstructionKind(body["kind"]),
        subject=body["subject"],
        limits=body["limits"],
        origins=tuple(body.get("origins", ())),
        stops=body.get("stops", False) is True,
        given_by=body["given_by"],
        given_at=datetime.fromisoformat(body["given_at"]),
        expires_at=datetime.fromisoformat(body["expires_at"]),
    ), base64.b64decode(body["signature"], validate=True)
