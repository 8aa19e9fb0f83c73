"""Secrets of farms, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.farm_secrets import RotateSecretIn, SecretOut, SecretQuery


class Secrets(Group):
    """Secrets of farms."""

    def page(self, query: SecretQuery | None = None) -> Page[SecretOut]:
        """List the secrets of farms, without what is in them."""
        return self._to.read("/v1/secrets", Page[SecretOut], query)

    def all(self, query: SecretQuery | None = None) -> Iterator[SecretOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or SecretQuery())

    def get(self, secret: str) -> SecretOut:
        """Show a secret of a farm, without what is in it."""
        return self._to.read(f"/v1/secrets/{part(secret)}", SecretOut)

    def rotate(
        self, secret: str, ask: RotateSecretIn | None = None, **how: Unpack[How]
    ) -> SecretOut:
        """Give a secret of a farm another text, for elements that are made from now on."""
        body = ask or RotateSecretIn()
        return self._to.write(
            "POST", f"/v1/secrets/{part(secret)}/rotate", SecretOut, body, how=how
        )
