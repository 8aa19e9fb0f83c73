"""Passwords that machines are to be given: hashes, kept until the guest has them, and no longer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import select, update

from arable.domain.ids import AccountId, MachineId, OperationId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_b, _m = t.machine_boot.c, t.machine.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A `PasswordWish` as it is kept: its hash sealed, to be opened on the way to its host."""

    number: int
    user: str
    sealed: str


_decode = msgspec.json.Decoder(Kept).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Waiting:
    """A password that its machine has not got yet, and the operation that waits for it."""

    account: AccountId
    name: str
    number: int
    operation: OperationId | None


def ask(tx: Tx, machine: MachineId, wish: Kept, operation: OperationId | None) -> None:
    """The machine is to be given this one, whatever was asked for before."""
    values = {"password": _encode(wish).decode(), "resetting": operation}
    tx.execute(update(t.machine_boot).where(_b.machine == machine).values(values))


def waiting(tx: Tx, machines: Iterable[MachineId]) -> Mapping[MachineId, Waiting]:
    """What these machines have not got yet."""
    query = (
        select(_m.id, _m.account, _m.name, _b.password, _b.resetting)
        .join(t.machine_boot, _b.machine == _m.id)
        .where(among(tx, _m.id, machines), _b.password != "")
    )
    return {
        MachineId(id_): Waiting(AccountId(account), name, _decode(password).number, operation)
        for id_, account, name, password, operation in tx.execute(query)
    }


def wipe(tx: Tx, machines: Iterable[MachineId]) -> None:
    """Nothing is kept for these any more; their hosts are told so."""
    ids = list(machines)
    values = {"password": "", "resetting": None}
    tx.execute(update(t.machine_boot).where(among(tx, _b.machine, ids)).values(values))
    tx.execute(
        update(t.machine).where(among(tx, _m.id, ids), _m.host.is_not(None)).values(attention=True)
    )


def wait_no_more(tx: Tx, machines: Iterable[MachineId]) -> None:
    """Operations about these are over; the passwords are kept."""
    tx.execute(update(t.machine_boot).where(among(tx, _b.machine, machines)).values(resetting=None))
