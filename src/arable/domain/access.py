"""Who may do what: permissions, the part of the cloud a caller can see, and the caller.

Deny by default. A role is data (a name and a set of permissions in the store); these are the ones that ship.
A credential's permissions are those of its role, cut down to its scopes: a child credential is never wider than
its parent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from arable.domain.errors import Forbidden
from arable.domain.ids import AccountId, DomainId, UserId


class Permission(StrEnum):
    """What a use case may ask for. `…read` never changes anything."""

    MACHINE_READ = "machine:read"
    MACHINE_WRITE = "machine:write"
    MACHINE_CONSOLE = "machine:console"
    NETWORK_READ = "network:read"
    NETWORK_WRITE = "network:write"
    VOLUME_READ = "volume:read"
    VOLUME_WRITE = "volume:write"
    FARM_READ = "farm:read"
    FARM_WRITE = "farm:write"
    FARM_CONTROL = (
        "farm:control"  # look at one's own farm; this and the next two are for programs in it
    )
    FARM_SCALE = "farm:scale"
    FARM_GROW = "farm:grow"
    IMAGE_READ = "image:read"
    IMAGE_WRITE = "image:write"
    CATALOGUE_READ = "catalogue:read"
    CATALOGUE_WRITE = "catalogue:write"
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"  # accounts, users, limits below one's own domain
    KEY_WRITE = "key:write"  # one's own keys and password
    EVENT_READ = "event:read"
    AUDIT_READ = "audit:read"
    BILLING_READ = "billing:read"  # what was used, and what it costs
    BILLING_WRITE = "billing:write"  # prices, plans, payments, orders' approval
    INFRA_READ = "infra:read"  # zones, pods, hosts, pools
    INFRA_WRITE = "infra:write"


class Rank(IntEnum):
    """Who outranks whom: nobody changes users or keys of a higher rank."""

    READER = 0
    CUSTOMER = 1
    DOMAIN_ADMIN = 2
    OPERATOR = 3


_P = Permission
_READ = {p for p in Permission if p.endswith(":read")}
_OWN = {
    *(_READ - {_P.AUDIT_READ, _P.INFRA_READ}),
    _P.MACHINE_WRITE,
    _P.MACHINE_CONSOLE,
    _P.NETWORK_WRITE,
    _P.VOLUME_WRITE,
    _P.FARM_WRITE,
    _P.IMAGE_WRITE,
    _P.KEY_WRITE,
}

ROLES: dict[str, tuple[Rank, frozenset[Permission]]] = {
    "operator": (Rank.OPERATOR, frozenset(Permission)),
    "domain-admin": (
        Rank.DOMAIN_ADMIN,
        frozenset({*_OWN, _P.ACCOUNT_WRITE, _P.AUDIT_READ}),
    ),
    "customer": (Rank.CUSTOMER, frozenset(_OWN)),
    "read-only": (Rank.READER, frozenset(_READ - {_P.AUDIT_READ, _P.INFRA_READ})),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a caller can see: one account, all accounts below a domain path, or (neither) everything.

    Every lookup in the store takes one, so there is no lookup by id alone (rule 9).
    """

    account: AccountId | None = None
    below: str | None = None  # a domain path such as "root/acme"

    @property
    def everything(self) -> bool:
        return self.account is None and self.below is None


EVERYTHING = Scope()
"""For controllers and operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. Made from a verified credential in one place, never from headers that a client can set."""

    user: UserId
    name: str
    account: AccountId
    domain: DomainId
    path: str  # of the domain
    role: str
    rank: Rank
    permissions: frozenset[Permission]
    via: str  # "password", the id of the key, or "system"
    source: str = ""  # network address, for the audit
    request: str = ""  # request id, for the audit

    @property
    def scope(self) -> Scope:
        """What this caller can see."""
        match self.rank:
            case Rank.OPERATOR:
                return EVERYTHING
            case Rank.DOMAIN_ADMIN:
                return Scope(below=self.path)
            case _:
                return Scope(account=self.account)

    def needs(self, permission: Permission) -> None:
        """Raises `Forbidden` unless this caller may."""
        if permission not in self.permissions:
            raise Forbidden(
                f"this needs the permission {permission}, which the role {self.role} "
                "or the scopes of this key don't include"
            )

    def narrowed(self, scopes: Iterable[Permission]) -> frozenset[Permission]:
        """The permissions a new credential with these scopes gets: never more than one's own."""
        return self.permissions & frozenset(scopes)
