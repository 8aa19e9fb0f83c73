"""The keys by which this region signs for its users, what it took back, and what is known of others' keys."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert, select

from arable.domain.ids import SignKeyId
from arable.domain.region import FactKind
from arable.store import grid_members, kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.grid_members import TOPIC
from arable.store.many import among
from arable.store.nudges import nudge

_k, _r, _f = t.sign_key.c, t.sign_revocation.c, t.grid_fact.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SignKey:
    """`sealed`: the private one."""

    id: SignKeyId
    public: str
    sealed: str = field(repr=False)
    created_at: datetime


def keys(tx: Tx) -> list[SignKey]:
    """Of this region, the oldest first."""
    return [kept.value(SignKey, row) for row in tx.execute(select(t.sign_key).order_by(_k.id))]


def add_key(tx: Tx, key: SignKey) -> None:
    """Another one; others are told."""
    tx.execute(insert(t.sign_key).values(**asdict(key)))
    nudge(tx, TOPIC)


def drop_keys(tx: Tx, ids: Iterable[str]) -> None:
    """Nothing counts that was signed by these, as soon as others hear so."""
    tx.execute(delete(t.sign_key).where(among(tx, _k.id, ids)))
    nudge(tx, TOPIC)


def revoke(tx: Tx, mark: str, before: datetime) -> None:
    """Nothing counts elsewhere that was signed for them until then, as soon as others hear so."""
    if grid_members.link(tx) is None:
        return
    tx.execute(delete(t.sign_revocation).where(_r.mark == mark))
    tx.execute(insert(t.sign_revocation).values(mark=mark, before=before))
    nudge(tx, TOPIC)


def revoked_before(tx: Tx, at: datetime) -> bool:
    """Whether something was taken back before that, and is still known."""
    return tx.execute(select(_r.mark).where(_r.before < at).limit(1)).first() is not None


def forget_revoked(tx: Tx, at: datetime) -> None:
    """What was taken back before that."""
    tx.execute(delete(t.sign_revocation).where(_r.before < at))


def public_key(tx: Tx, region: str, key: str) -> str | None:
    """Another region's, as it said; None: it has no such key."""
    query = select(_f.body).where(
        _f.region == region, _f.kind == str(FactKind.KEY), _f.key == key, _f.body.is_not(None)
    )
    body = tx.execute(query).scalar()
    return None if body is None else str(body["public"])


def taken_back(tx: Tx, region: str, marks: Iterable[str]) -> list[datetime]:
    """Until when what that region signed for these does not count."""
    query = select(_f.body).where(
        _f.region == region,
        _f.kind == str(FactKind.REVOKED),
        among(tx, _f.key, marks),
        _f.body.is_not(None),
    )
    return [datetime.fromisoformat(body["before"]) for body in tx.execute(query).scalars()]
