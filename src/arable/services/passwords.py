"""Passwords that are generated for machines: hashed before the transaction, shown once after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from arable.runtime.secret import Secret
from arable.runtime.tokens import crypt_password
from arable.services.call import Prelude
from arable.wire.machines import DeployIn, PasswordResetIn
from arable.wire.orders import OrderIn

MOST = 100
"""In one call: each hash takes milliseconds."""
_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Password:
    """The text is for the answer alone; the hash is for the machine."""

    text: Secret
    hash: str


def wanted(ask: DeployIn) -> bool:
    """Whether this ask needs any, and thus a prelude at all."""
    return ask.password


def generate(prelude: Prelude, ask: DeployIn) -> Sequence[Password]:
    """One for each machine; none for an ask that will be refused for its number."""
    if not ask.password or ask.count > MOST:
        return ()
    entropy = prelude.around.entropy
    texts = [entropy.secret(_LENGTH) for _ in range(ask.count)]
    return [Password(Secret(text), crypt_password(text, entropy)) for text in texts]


def ordered(prelude: Prelude, ask: OrderIn) -> Password | None:
    """One for all machines of a farm that is ordered, if it is asked for."""
    if not ask.new_password:
        return None
    text = prelude.around.entropy.secret(_LENGTH)
    return Password(Secret(text), crypt_password(text, prelude.around.entropy))


def orders(ask: OrderIn) -> bool:
    """Whether this one asks for any."""
    return ask.new_password


def one(prelude: Prelude, _machine: str, ask: PasswordResetIn) -> Password:
    """The one that was given, or a new one, with its hash."""
    entropy = prelude.around.entropy
    text = ask.password or entropy.secret(_LENGTH)
    return Password(Secret(text), crypt_password(text, entropy))
