"""Who one is, and who else there is."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page, PageQuery
from arable.wire.users import (
    KeyIn,
    KeyOut,
    KeyQuery,
    NewKeyOut,
    NewSessionOut,
    PasswordIn,
    RolesOut,
    SessionIn,
    SessionOut,
    UserChange,
    UserIn,
    UserOut,
    UserQuery,
    WhoamiOut,
)


class Users(Group):
    """Users, their roles and passwords, and the caller itself."""

    def whoami(self) -> WhoamiOut:
        """Say who this credential is."""
        return self._to.read("/v1/whoami", WhoamiOut)

    def roles(self) -> RolesOut:
        """List roles and their permissions."""
        return self._to.read("/v1/roles", RolesOut)

    def page(self, query: UserQuery | None = None) -> Page[UserOut]:
        """List users."""
        return self._to.read("/v1/users", Page[UserOut], query)

    def all(self, query: UserQuery | None = None) -> Iterator[UserOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or UserQuery())

    def create(self, ask: UserIn, **how: Unpack[How]) -> UserOut:
        """Create a user."""
        return self._to.write("POST", "/v1/users", UserOut, ask, how=how)

    def get(self, user: str) -> UserOut:
        """Show a user."""
        return self._to.read(f"/v1/users/{part(user)}", UserOut)

    def update(self, user: str, ask: UserChange, **how: Unpack[How]) -> UserOut:
        """Give a user another role, disable or enable them."""
        return self._to.write("PATCH", f"/v1/users/{part(user)}", UserOut, ask, how=how)

    def delete(self, user: str, **how: Unpack[How]) -> None:
        """Delete a user with all their keys."""
        self._to.write("DELETE", f"/v1/users/{part(user)}", type(None), how=how)

    def change_password(self, user: str, ask: PasswordIn, **how: Unpack[How]) -> UserOut:
        """Change a password."""
        return self._to.write("POST", f"/v1/users/{part(user)}/password", UserOut, ask, how=how)


class Keys(Group):
    """The caller's API keys."""

    def page(self, query: KeyQuery | None = None) -> Page[KeyOut]:
        """List API keys."""
        return self._to.read("/v1/keys", Page[KeyOut], query)

    def all(self, query: KeyQuery | None = None) -> Iterator[KeyOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or KeyQuery())

    def create(self, ask: KeyIn, **how: Unpack[How]) -> NewKeyOut:
        """Create an API key of one's own."""
        return self._to.write("POST", "/v1/keys", NewKeyOut, ask, how=how)

    def get(self, key: str) -> KeyOut:
        """Show an API key."""
        return self._to.read(f"/v1/keys/{part(key)}", KeyOut)

    def delete(self, key: str, **how: Unpack[How]) -> None:
        """Delete an API key."""
        self._to.write("DELETE", f"/v1/keys/{part(key)}", type(None), how=how)


class Sessions(Group):
    """Signing in and out."""

    def page(self, query: PageQuery | None = None) -> Page[SessionOut]:
        """List one's own sessions."""
        return self._to.read("/v1/sessions", Page[SessionOut], query)

    def all(self, query: PageQuery | None = None) -> Iterator[SessionOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or PageQuery())

    def create(self, ask: SessionIn, **how: Unpack[How]) -> NewSessionOut:
        """Sign in with name and password."""
        return self._to.write("POST", "/v1/sessions", NewSessionOut, ask, how=how)

    def end(self, **how: Unpack[How]) -> None:
        """Sign out."""
        self._to.write("DELETE", "/v1/sessions/current", type(None), how=how)

    def delete(self, session: str, **how: Unpack[How]) -> None:
        """End one of one's own sessions."""
        self._to.write("DELETE", f"/v1/sessions/{part(session)}", type(None), how=how)
