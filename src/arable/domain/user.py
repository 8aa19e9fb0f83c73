"""Who can ask: users of an account, their roles, and the keys and sessions they are known by."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from arable.domain.access import Permission, Rank
from arable.domain.ids import AccountId, KeyId, SessionId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A name for permissions, and for how far they reach."""

    name: str
    rank: Rank
    permissions: frozenset[Permission]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a program. `name` is unique in the cloud, because it is all that one signs in with."""

    id: UserId
    account: AccountId
    name: str
    role: str
    password_hash: str = field(default="", repr=False)
    enabled: bool = True
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> Self:
        """The next generation."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential for programs. `scopes` is all it may do, whatever its user may."""

    id: KeyId
    user: UserId
    name: str
    secret_hash: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    created_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody signed in with a password."""

    id: SessionId
    user: UserId
    secret_hash: str = field(repr=False)
    expires_at: datetime
    created_at: datetime
