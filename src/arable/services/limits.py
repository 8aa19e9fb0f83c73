"""What accounts may hold at most, and who says so.

An operator gives any limit. A domain's administrator gives accounts below (never their own) at most what their own
account has: else the limits that an operator set would hold nobody who can make accounts.
"""

from collections.abc import Mapping

from msgspec import UNSET

from arable.domain.access import Caller, Permission, Rank
from arable.domain.errors import Forbidden
from arable.domain.ids import AccountId
from arable.services.call import Call
from arable.store import accounts, quotas, rates, settings, shares
from arable.store.schema import RESOURCES
from arable.wire.accounts import LimitOut, LimitsChange, LimitsOut


def get(call: Call, account: AccountId) -> LimitsOut:
    """What the account holds and may hold."""
    call.caller.needs(Permission.ACCOUNT_READ)
    found = accounts.get(call.tx, call.caller.scope, account)
    return _shown(call, found.id)


def update(call: Call, account: AccountId, ask: LimitsChange) -> LimitsOut:
    """Other limits. Below what is held is allowed: nothing is taken away, nothing more is given."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    found = accounts.get(call.tx, call.caller.scope, account, lock=True)
    if call.caller.rank < Rank.OPERATOR and found.id == call.caller.account:
        raise Forbidden("nobody but an operator changes the limits of their own account")
    asked = _asked(ask)
    _check_within_own(call, asked)
    kbps = _kbps(call, ask)
    if kbps is not None:
        rates.hold(call.tx, found.id)
        if quotas.get(call.tx, found.id).network_kbps != kbps:
            quotas.set_network_kbps(call.tx, found.id, kbps)
            rates.wake(call.tx, found.id)
    quotas.set_limits(call.tx, found.id, asked)
    return _shown(call, found.id)


def add(call: Call, account: AccountId, ask: LimitsChange) -> None:
    """The limits of a new account."""
    limits, kbps = of_new_account(call, ask), _kbps(call, ask)
    own = 0 if _free(call.caller) else quotas.get(call.tx, call.caller.account).network_kbps
    quotas.add(call.tx, account, limits, own if kbps is None else kbps)
    shares.adopt(call.tx, account)


def of_new_account(call: Call, ask: LimitsChange) -> dict[str, int]:
    """What was asked for, else the cloud's defaults; never more than the caller may give."""
    asked = _asked(ask)
    _check_within_own(call, asked)
    own = _own(call)
    usual = settings.all_of(call.tx)
    return {
        name: asked[name]
        if name in asked
        else _less(int(usual[f"new_account_{name}"]), own.get(name))
        for name in RESOURCES
    }


def _shown(call: Call, account: AccountId) -> LimitsOut:
    quota, everywhere = quotas.get(call.tx, account), shares.limits_of(call.tx, account)
    found = {
        name: LimitOut(
            used=quota.used[name],
            limit=None if quota.limits[name] < 0 else quota.limits[name],
            everywhere=everywhere.get(name),
            share=quota.shares[name] if name in everywhere else None,
        )
        for name in RESOURCES
    }
    return LimitsOut(account=account, network_kbps=quota.network_kbps or None, **found)


def _asked(ask: LimitsChange) -> dict[str, int]:
    said = {name: getattr(ask, name) for name in RESOURCES}
    return {
        name: quotas.NO_LIMIT if value is None else value
        for name, value in said.items()
        if value is not UNSET
    }


def _kbps(call: Call, ask: LimitsChange) -> int | None:
    """What was asked for ports, 0 for no limit; None: nothing. Raises `Forbidden` where the caller may not give it."""
    if ask.network_kbps is UNSET:
        return None
    kbps = ask.network_kbps or 0
    most = 0 if _free(call.caller) else quotas.get(call.tx, call.caller.account).network_kbps
    if most and not 0 < kbps <= most:
        raise Forbidden(
            f"the ports of your own account's machines have {most} kbit/s; you can't give more",
            field="network_kbps",
        )
    return kbps


def _own(call: Call) -> Mapping[str, int]:
    """What the caller may give at most; empty for operators, who may give anything."""
    return {} if _free(call.caller) else quotas.get(call.tx, call.caller.account).limits


def _free(caller: Caller) -> bool:
    return caller.rank >= Rank.OPERATOR


def _check_within_own(call: Call, asked: Mapping[str, int]) -> None:
    own = _own(call)
    for name, value in asked.items():
        most = own.get(name, quotas.NO_LIMIT)
        if most >= 0 and (value < 0 or value > most):
            raise Forbidden(
                f"your own account's limit is {most} {quotas.WORDS[name]}; you can't give more",
                field=name,
            )


def _less(default: int, own: int | None) -> int:
    if own is None or own < 0:
        return default
    return own if default < 0 else min(default, own)
