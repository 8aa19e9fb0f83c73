"""Who asks: the bearer token of the request, verified. Everything about a caller is made here and in `services/credentials`."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from dataclasses import replace
from functools import partial
from typing import Protocol

from arable.api.incoming import Headers, Scope, headers
from arable.api.operation import Access, Policy
from arable.domain import sign_on
from arable.domain.access import Caller
from arable.domain.errors import Unauthenticated
from arable.domain.ids import UserId
from arable.services.credentials import NOBODY, REFUSED, Credentials

_LONGEST = sign_on.LONGEST
CALLER = "arable.caller"
"""In the scope of a request that another region passed on (`api/elsewhere.py`); no header gets there."""

STILL = "arable.still"
"""Beside it, if the answer has no end: what raises when who asked may not any more."""


class Gatekeeper(Protocol):
    """Who says who a caller is."""

    async def caller(self, policy: Policy, said: Headers, scope: Scope, request: str) -> Caller: ...

    def still(self, said: Headers, scope: Scope) -> Callable[[], object]: ...


class Gate:
    """Lets callers in. Looks at the store on a thread, once for all tokens that requests bring at about the same time."""

    def __init__(self, credentials: Credentials, pool: Pool) -> None:
        self._credentials = credentials
        self._pool = pool
        self._looking: dict[str, asyncio.Future[Caller | None]] = {}
        self._wanted: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def caller(self, policy: Policy, said: Headers, scope: Scope, request: str) -> Caller:
        """Who asks; raises `Unauthenticated` or `Forbidden`. A public call does not look at credentials at all."""
        passed_on: Caller | None = scope.get(CALLER)
        if passed_on is not None:
            return _here(passed_on, scope, request)
        if policy is Access.PUBLIC:
            return _here(NOBODY, scope, request)
        token = bearer(said)
        found = self._credentials.believed(token)
        if found is None:
            found = await self._verified(token)
        return _here(found, scope, request)

    def still(self, said: Headers, scope: Scope) -> Callable[[], object]:
        """To ask on a thread, now and then: raises `CloudError` when who was let in may not be here any more."""
        passed_on: Callable[[], object] | None = scope.get(STILL)
        return passed_on or partial(self._credentials.verify, bearer(said))

    async def user(self, scope: Scope) -> UserId | None:
        """Whose token a websocket's request brings, None for none; raises `CloudError` for one that is not good."""
        said = headers(scope)
        if not said.authorization:
            return None
        token = bearer(said)
        found = self._credentials.believed(token) or await self._verified(token)
        return found.user

    async def _verified(self, token: str) -> Caller:
        looking = self._looking.get(token)
        if looking is None:
            looking = self._looking[token] = asyncio.get_running_loop().create_future()
            self._wanted.append(token)
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._look())
        found = await asyncio.shield(looking)
        if found is None:
            raise Unauthenticated(REFUSED)
        return found

    async def _look(self) -> None:
        """Ask the store about all tokens that are wanted, until none is: one look for those that came meanwhile."""
        loop = asyncio.get_running_loop()
        try:
            while self._wanted:
                asked, self._wanted = self._wanted, []
                answers = {token: self._looking[token] for token in asked}
                try:
                    found = await loop.run_in_executor(
                        self._pool, self._credentials.verify_many, asked
                    )
                except Exception as error:  # noqa: BLE001 - told to all who wait for it
                    for token, answer in answers.items():
                        del self._looking[token]
                        if not answer.cancelled():
                            answer.set_exception(error)
                            answer.exception()  # nobody may be left who waits for it
                else:
                    for token, answer in answers.items():
                        del self._looking[token]
                        if not answer.cancelled():
                            answer.set_result(found[token])
        finally:
            self._task = None


def bearer(said: Headers) -> str:
    """The token of `Authorization: Bearer …`; raises `Unauthenticated`."""
    scheme, _, token = said.authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST:
        raise Unauthenticated(
            "sign in: send an API key or a session's token as 'Authorization: Bearer …'"
        )
    return token


def _here(caller: Caller, scope: Scope, request: str) -> Caller:
    client = scope.get("client")
    return replace(caller, source=client[0] if client else "", request=request)
