"""SSH keys, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.ssh_keys import NewSshKeyOut, SshKeyImport, SshKeyIn, SshKeyOut, SshKeyQuery


class SshKeys(Group):
    """SSH keys."""

    def page(self, query: SshKeyQuery | None = None) -> Page[SshKeyOut]:
        """List SSH keys."""
        return self._to.read("/v1/ssh-keys", Page[SshKeyOut], query)

    def all(self, query: SshKeyQuery | None = None) -> Iterator[SshKeyOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or SshKeyQuery())

    def create(self, ask: SshKeyIn, **how: Unpack[How]) -> NewSshKeyOut:
        """Make a new pair of SSH keys."""
        return self._to.write("POST", "/v1/ssh-keys", NewSshKeyOut, ask, how=how)

    def import_key(self, ask: SshKeyImport, **how: Unpack[How]) -> SshKeyOut:
        """Import a public SSH key."""
        return self._to.write("POST", "/v1/ssh-keys/import", SshKeyOut, ask, how=how)

    def get(self, sshkey: str) -> SshKeyOut:
        """Show an SSH key."""
        return self._to.read(f"/v1/ssh-keys/{part(sshkey)}", SshKeyOut)

    def delete(self, sshkey: str, **how: Unpack[How]) -> None:
        """Delete an SSH key."""
        self._to.write("DELETE", f"/v1/ssh-keys/{part(sshkey)}", type(None), how=how)
