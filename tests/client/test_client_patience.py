"""A server that is away for a moment is noticed by nobody; what may not be repeated never is."""

from collections.abc import Sequence

import httpx
import pytest

from arable.client import errors
from arable.client.arable import Arable
from arable.client.patience import Patience
from arable.wire.accounts import AccountIn
from arable.wire.users import SessionIn

ASK = AccountIn(name="acme")
BUSY = httpx.Response(503, headers={"retry-after": "3"}, content=b"<html>no server</html>")
ME = {
    "user": "user-1",
    "name": "alice",
    "account": "account-1",
    "account_name": "acme",
    "domain": "domain-1",
    "path": "root",
    "role": "customer",
    "permissions": [],
    "via": "session-1",
}
YES = httpx.Response(200, json=ME)
CUT_OFF, REFUSED = httpx.ReadError("cut off"), httpx.ConnectError("refused")
SLOW = httpx.ReadTimeout("nothing came")

Say = httpx.Response | httpx.TransportError


class Server:
    """Answers as it is told, and remembers what it was asked and how long it was left alone."""

    def __init__(self, says: Sequence[Say]) -> None:
        self.says = list(says)
        self.keys: list[str | None] = []
        self.pauses: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers.get("idempotency-key"))
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, httpx.TransportError):
            raise said
        return httpx.Response(said.status_code, headers=said.headers, content=said.content)

    def client(self, **but: object) -> Arable:
        patience = Patience(pause=self.pauses.append, chance=lambda: 1.0, **but)
        return Arable("http://cloud", "token", transport=httpx.MockTransport(self.answer), patience=patience)  # fmt: skip


@pytest.mark.parametrize("trouble", [BUSY, CUT_OFF, REFUSED], ids=["busy", "cut off", "refused"])
def test_a_call_that_only_looks_is_made_again(trouble: Say) -> None:
    server = Server([trouble, trouble, YES])
    with server.client() as to:
        assert to.users.whoami().name == "alice"
    assert len(server.keys) == 3


@pytest.mark.parametrize("trouble", [BUSY, CUT_OFF])
def test_a_write_without_a_key_is_never_made_twice(trouble: Say) -> None:
    server = Server([trouble, YES])
    with server.client() as to, pytest.raises(errors.CallError):
        to.accounts.create(ASK)
    assert server.keys == [None]


def test_a_write_that_never_left_is_made_again() -> None:
    server = Server([REFUSED, httpx.Response(204)])
    with server.client() as to:
        to.sessions.end()
    assert len(server.keys) == 2


@pytest.mark.parametrize("trouble", [BUSY, CUT_OFF])
def test_a_write_with_a_key_is_made_again_with_the_same_key(trouble: Say) -> None:
    server = Server([trouble, YES])
    with server.client() as to, pytest.raises(errors.NotArable):
        to.accounts.create(ASK, idempotency_key="mine")
    assert server.keys == ["mine", "mine"]


def test_keys_are_drawn_for_those_who_want_them_and_each_call_has_its_own() -> None:
    server = Server([CUT_OFF, httpx.Response(204)])
    with server.client(keys=True) as to:
        to.sessions.end()
        to.sessions.end()
    first, again, second = server.keys
    assert first == again
    assert first != second
    assert len(first) == 32


def test_signing_in_takes_no_key() -> None:
    server = Server([CUT_OFF])
    to = server.client(keys=True)
    to.connection.token = ""
    with pytest.raises(errors.Unreachable):
        to.sessions.create(SessionIn(name="a", password="b"))
    assert server.keys == [None]


def test_pauses_grow_to_a_bound_and_are_as_long_as_the_server_asks() -> None:
    server = Server([REFUSED])
    with server.client(tries=8) as to, pytest.raises(errors.Unreachable):
        to.users.whoami()
    assert server.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    server = Server([BUSY])
    with server.client(tries=3) as to, pytest.raises(errors.NotArable):
        to.users.whoami()
    assert server.pauses == pytest.approx([3.1, 3.2])


def test_pauses_are_of_random_length() -> None:
    patience = Patience()
    assert len({patience.chance() for _ in range(20)}) > 15
    assert all(0 <= patience.chance() < 1 for _ in range(20))


@pytest.mark.parametrize(
    "trouble", [SLOW, httpx.Response(503, headers={"retry-after": "3600"}), httpx.Response(500)]
)
def test_what_waiting_does_not_mend_is_told_at_once(trouble: Say) -> None:
    server = Server([trouble])
    with server.client() as to, pytest.raises(errors.CallError):
        to.users.whoami()
    assert len(server.keys) == 1
    assert server.pauses == []


def test_a_long_trouble_is_told_in_the_end() -> None:
    server = Server([BUSY])
    with server.client() as to, pytest.raises(errors.CallError):
        to.users.whoami()
    assert len(server.keys) == 5
