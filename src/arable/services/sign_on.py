"""One sign-on: a region signs for those whom it let in, and others judge that by themselves.

What such a caller may be here is what it would be had its region passed the call on (`services/elsewhere.py`): the account
of the same path, if operators here federated it with that region, as a customer at most. Keys, passwords and accounts
are a region's own: nobody makes any by what another region signed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from arable.domain import sign_on as rules
from arable.domain.access import Caller, Permission
from arable.domain.errors import BadInput, CloudError, Conflict, Forbidden, NotFound, Unavailable
from arable.domain.ids import AccountId, SignKeyId
from arable.domain.region import FactKind, MemberState
from arable.domain.sign_on import Claims
from arable.runtime import signatures
from arable.runtime.sealed import seal, unseal
from arable.services import elsewhere
from arable.services.call import Call, Surroundings
from arable.store import accounts, grid_facts, grid_members, sign_on
from arable.store.database import Tx
from arable.store.sign_on import SignKey
from arable.wire.regions import IN_NO_GRID
from arable.wire.sign_on import RotatedOut, SignOnIn, SignOnOut

SEALED_FOR = "sign-on key"
VIA = "sign-on:"


def issue(call: Call, ask: SignOnIn) -> SignOnOut:
    """A token for another region."""
    caller, tx = call.caller, call.tx
    if elsewhere.is_from_elsewhere(caller):
        raise Forbidden("ask the region that knows you: what another one vouched for ends here")
    link = grid_members.link(tx)
    if link is None:
        raise Conflict(f"{IN_NO_GRID}, so there are no other regions")
    if ask.region == link.region:
        raise BadInput("this is that region", field="region")
    member = grid_members.by_name(tx, ask.region)
    if member is None or member.state is MemberState.GONE:
        raise NotFound(f"the grid has no region named {ask.region}", field="region")
    now = call.around.clock.now()
    key = rules.signing(sign_on.keys(tx), now)
    if key is None:
        raise Unavailable("this region has no key to sign by as yet; ask again in a minute")
    claims = Claims(
        by=link.region,
        key=key.id,
        to=ask.region,
        account=accounts.path_of(tx, caller.account),
        user=caller.name,
        may=tuple(sorted(map(str, caller.permissions))),
        at=rules.millis(now),
        until=rules.millis(now + rules.LIFE),
    )
    text = rules.text_of(claims)
    private = unseal(call.around.authority, key.sealed, SEALED_FOR)
    said = grid_facts.of(tx, ask.region, FactKind.REGION)
    return SignOnOut(
        region=ask.region,
        address=str(said[0].body.get("api", "")) if said else "",
        expires_at=rules.moment(claims.until),
        token=rules.token(text, signatures.signature(private, rules.to_sign(text))),
    )


def caller(tx: Tx, token: str, now: datetime) -> Caller:
    """Whom somebody may be here, by what another region signed. Raises `Unauthenticated` or `Forbidden`."""
    claims, signed, signature = rules.parsed(token)
    link = grid_members.link(tx)
    member = grid_members.by_name(tx, claims.by)
    public = sign_on.public_key(tx, claims.by, claims.key)
    marks = (rules.mark(claims.account), rules.mark(claims.account, claims.user))
    if (
        link is None
        or member is None
        or member.state is MemberState.GONE
        or public is None
        or not claims.user.isprintable()
        or not signatures.is_right(public, signed, signature)
        or not rules.counts(claims, link.region, now, sign_on.taken_back(tx, claims.by, marks))
    ):
        raise Forbidden("this token does not count")
    return elsewhere.vouched(
        tx, claims.by, claims.account, claims.user, claims.may, via=f"{VIA}{claims.by}"
    )


def callers(tx: Tx, tokens: list[str], now: datetime) -> dict[str, Caller]:
    """Of many those that count."""
    found = {}
    for token in tokens:
        try:
            found[token] = caller(tx, token, now)
        except CloudError:  # one answer for every reason
            continue
    return found


def rotate(call: Call) -> RotatedOut:
    """Keys may be known to others: drop all and make a new one. Nothing counts that was signed, once others hear so."""
    call.caller.needs(Permission.INFRA_WRITE)
    link = grid_members.link(call.tx)
    if link is None:
        raise Conflict(f"{IN_NO_GRID}, so nothing is signed")
    before = sign_on.keys(call.tx)
    sign_on.drop_keys(call.tx, [key.id for key in before])
    _add(call.tx, call.around)
    return RotatedOut(region=link.region, keys=len(before))


def taken_back(call: Call, account: AccountId, user: str = "") -> None:
    """What was signed for that user (none: for any) of the account counts no more, as soon as others hear so."""
    path = accounts.path_of(call.tx, account)
    sign_on.revoke(call.tx, rules.mark(path, user), call.around.clock.now())


@dataclass(frozen=True, slots=True)
class KeyHands:
    """Makes keys in time, and forgets what is over."""

    around: Callable[[], Surroundings]

    def keep(self, tx: Tx, at: datetime) -> int:
        """One round; what was done."""
        keys = sign_on.keys(tx)
        if grid_members.link(tx) is None:
            if keys:
                sign_on.drop_keys(tx, [key.id for key in keys])
            return len(keys)
        done = 0
        if rules.is_due(keys, at):
            _add(tx, self.around())
            done += 1
        old = rules.over(keys, at)
        if old:
            sign_on.drop_keys(tx, [key.id for key in old])
        if sign_on.revoked_before(tx, at - rules.KEPT):
            sign_on.forget_revoked(tx, at - rules.KEPT)
        return done + len(old)


def _add(tx: Tx, around: Surroundings) -> None:
    made = signatures.new_pair()
    sign_on.add_key(
        tx,
        SignKey(
            id=SignKeyId(around.ids.new("signkey")),
            public=made.public,
            sealed=seal(around.authority, around.entropy, made.private, SEALED_FOR),
            created_at=around.clock.now(),
        ),
    )
