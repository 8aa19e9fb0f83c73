"""What accounts and the cloud allow machines' ports, and waking those for which that changed (`domain/rates.py`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from sqlalchemy import ColumnElement, select, true, update

from arable.domain.ids import AccountId
from arable.domain.rates import Rate, least
from arable.domain.settings import MACHINE_KBPS
from arable.store import schema as t
from arable.store import settings
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.nudges import nudge


@dataclass(frozen=True, slots=True)
class Rates:
    """What holds now, for some accounts."""

    cloud: int
    accounts: Mapping[AccountId, int]

    @classmethod
    def of(cls, tx: Tx, accounts: Iterable[AccountId]) -> Self:
        """As they are in this transaction."""
        return cls(settings.get(tx, MACHINE_KBPS), dict(_of.rows(tx, set(accounts))))

    def rate(self, account: AccountId, offering: int) -> Rate:
        """Of the ports of a machine of `account`, whose offering says `offering`."""
        return least(offering, self.accounts.get(account, 0), self.cloud)


_q = t.quota.c
_of = Lookup(lambda among: select(_q.account, _q.max_network_kbps).where(among(_q.account)))


def hold(tx: Tx, account: AccountId | None = None) -> None:
    """Before the account's rate, or the cloud's, is changed: machines first, then limits, as everybody holds them.

    Whoever deploys holds its account's limits, so that nobody brings in a machine that `wake` does not see.
    """
    machine, quota = _of_account(account)
    tx.execute(select(_m.id).where(machine).order_by(_m.id).with_for_update())
    tx.execute(select(_q.account).where(quota).order_by(_q.account).with_for_update())


def wake(tx: Tx, account: AccountId | None = None) -> None:
    """The hosts of the account's machines, or of all, are told anew."""
    machine, _ = _of_account(account)
    there = _m.wish.in_(("running", "stopped"))
    if tx.execute(update(t.machine).where(machine, there).values(attention=True)).rowcount:
        nudge(tx, "machines")


_m = t.machine.c


def _of_account(account: AccountId | None) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Which machines, and whose limits."""
    if account is None:
        return true(), true()
    return _m.account == account, _q.account == account
