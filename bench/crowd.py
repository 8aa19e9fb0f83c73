"""Thousands of customers, put into the store by the services that make them: only their passwords are left out.

A password costs what it should, a tenth of a second each; a benchmark of farms needs their keys.
"""

from pathlib import Path

from arable.client.arable import Arable
from arable.domain.access import ROLES, Caller
from arable.domain.ids import AccountId, DomainId, UserId
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import Authority
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.services import accounts, keys
from arable.services.call import Call, Surroundings
from arable.store.database import Database
from arable.wire.accounts import AccountIn, FirstUserIn, LimitsChange
from arable.wire.users import KeyIn
from bench.cloud import Served

_FREE = LimitsChange(
    machines=None,
    cpus=None,
    memory_mib=None,
    volumes=None,
    storage_mib=None,
    networks=None,
    addresses=None,
)
_NO_PASSWORD = "!"


def crowd(served: Served, operator: Arable, count: int) -> list[str]:
    """So many accounts without limits, an API key of each."""
    clock, entropy = RealClock(), Entropy.system()
    around = Surroundings(
        clock,
        entropy,
        Ids(clock, entropy),
        ImageStore(Path(served.data) / "crowd-images"),
        Authority.load(served.data / "authority", clock, entropy),
    )
    who = operator.users.whoami()
    domain = DomainId(operator.accounts.get(who.account).domain)
    me = _caller(UserId(who.user), AccountId(who.account), domain, "operator")
    password = entropy.secret(24)
    database = Database(served.database)
    try:
        with database.write() as tx:
            found = []
            for at in range(count):
                name = f"customer-{at}"
                ask = AccountIn(
                    name=name, limits=_FREE, user=FirstUserIn(name=name, password=password)
                )
                made = accounts.create(Call(tx, me, around), ask, _NO_PASSWORD)
                assert made.user, "one was described"
                they = _caller(UserId(made.user), AccountId(made.id), domain, "customer")
                secret = keys.create(Call(tx, they, around), KeyIn(name="bench")).secret
                assert secret, "a fresh key is told"
                found.append(secret)
    finally:
        database.close()
    return found


def _caller(user: UserId, account: AccountId, domain: DomainId, role: str) -> Caller:
    rank, permissions = ROLES[role]
    return Caller(
        user=user,
        name=role,
        account=account,
        domain=domain,
        path="root",
        role=role,
        rank=rank,
        permissions=permissions,
        via="system",
    )
