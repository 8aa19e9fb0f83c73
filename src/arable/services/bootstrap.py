"""The first start of a cloud: its roles, the root of its domains, and the one user who can make all others.

Said at every start, by every management server: what is there already is left alone, but the roles that ship are
brought up to date. The first operator's password is drawn here and returned once; it is kept nowhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

from arable.domain.access import ROLES
from arable.domain.account import Account, Domain
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, DomainId, UserId
from arable.domain.incarnation import KIND
from arable.domain.user import Role, User
from arable.runtime import tokens
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.secret import Secret
from arable.store import accounts, domains, incarnations, quotas, users
from arable.store.database import Database, Tx

ROOT = "root"
OPERATOR = "operator"
_PASSWORD_LENGTH = 24


@dataclass(frozen=True, slots=True)
class FirstOperator:
    """To be told to whoever started the cloud, once."""

    user: UserId
    account: AccountId
    domain: DomainId
    name: str
    password: Secret


def ensure(database: Database, clock: Clock, entropy: Entropy, ids: Ids) -> FirstOperator | None:
    """Make what is missing; the first operator when this was the first start, else None."""
    for last in (False, True):
        try:
            with database.write() as tx:
                return start(tx, clock, entropy, ids.new)
        except Conflict:  # another server made it at the same time
            if last:
                raise
    return None


def start(
    tx: Tx, clock: Clock, entropy: Entropy, new: Callable[[str], str]
) -> FirstOperator | None:
    """The same in a transaction of the caller's."""
    users.put_roles(
        tx,
        (Role(name=name, rank=rank, permissions=may) for name, (rank, may) in ROLES.items()),
    )
    if not incarnations.current(tx):
        incarnations.draw(tx, new(KIND), clock.now())
    if domains.root(tx) is not None:
        return None
    now = clock.now()
    domain = Domain(id=DomainId(new("domain")), parent=None, path=ROOT, name=ROOT, created_at=now)
    account = Account(
        id=AccountId(new("account")), domain=domain.id, name="operators", created_at=now
    )
    password = entropy.secret(_PASSWORD_LENGTH)
    user = User(
        id=UserId(new("user")),
        account=account.id,
        name=OPERATOR,
        role=OPERATOR,
        password_hash=tokens.hash_password(password, entropy),
        created_at=now,
    )
    domains.add(tx, domain)
    accounts.add(tx, account)
    quotas.add(tx, account.id, {})
    users.add(tx, user)
    return FirstOperator(user.id, account.id, domain.id, user.name, Secret(password))
