"""From a request to a use case and back: the one path that every operation takes, and therefore a short one.

Plain ASGI, no middleware: each layer would cost every call. What can be found out once for a row is found out when
the row is bound. The order is fixed: find the row, learn who asks, check the policy, and only then look at what was sent.
"""

import asyncio
import hashlib
import hmac
import logging
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from arable.api import incoming, problems
from arable.api.gate import Gatekeeper
from arable.api.hub import Hub
from arable.api.incoming import BodyReader, ClientGone, Headers, QueryReader, Receive, Scope
from arable.api.metrics import CallMetrics, Metrics
from arable.api.operation import Op, Receiver
from arable.api.paths import Paths
from arable.api.streams import EventStreams
from arable.domain.access import Caller, Permission
from arable.domain.errors import BadInput, CloudError, TooLarge, Unavailable, WrongOffset
from arable.runtime.log import milliseconds, tell, units
from arable.services.execution import Done, Executor, Order, UseCase, lost_race
from arable.wire.operations import OperationOut

log = logging.getLogger(__name__)
_calls = units("calls")

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

UPLOAD_LIMIT = 1 << 44  # bytes; the receiver knows the true limit of what it takes
_AT_ONCE = 2048  # calls in progress; more are told to come again
_PRELUDES = 64  # waiting for a thread
_TRIES = 4  # of a write that the database gave up for another's sake
_LOOK_AGAIN = 2.0  # seconds: how long a lost nudge delays who waits
_PIECE = 1 << 18
_CREATED = 201
_SILENCE = 30.0  # seconds: whoever sends nothing for so long may have gone without a word, and holds up who comes back
_ENCODER = msgspec.json.Encoder()
_SAFE = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(frozen=True, slots=True)
class Bound:
    """A row, and what was found out about it."""

    op: Op
    case: UseCase
    body: BodyReader
    query: QueryReader
    metrics: CallMetrics
    tagged: bool  # its answer has a generation
    located: bool  # its answer is an operation that goes on
    growing: bool  # its answer says how far an upload is


@dataclass(slots=True)
class Answer:
    """What is sent."""

    status: int
    body: bytes
    headers: RawHeaders
    operation: str = ""  # for the log
    problem: str = ""


class Awaited:
    """What the writer promised, awaited on this loop.

    The writer settles a whole commit here, so this costs no wake-up of its own; and none of the locks of a
    `concurrent.futures.Future`, which were a third of the loop's work for a call.
    """

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread  # the loop's
        self.future: asyncio.Future[Any] = loop.create_future()

    def set_running_or_notify_cancel(self) -> bool:
        return not self.future.done()

    def set_result(self, result: Any) -> None:
        self._tell(self.future.set_result, result)

    def set_exception(self, exception: BaseException | None) -> None:
        self._tell(self.future.set_exception, exception)

    def _tell(self, how: Callable[[Any], None], what: Any) -> None:
        if threading.get_ident() != self._thread:  # a writer that delivers by itself
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._tell, how, what)
        elif not self.future.done():  # else nobody waits any more
            how(what)


class Adaptor:
    """Serves the rows. Made and called on the event loop."""

    def __init__(
        self,
        operations: Sequence[Op],
        executor: Executor,
        gate: Gatekeeper,
        hub: Hub,
        streams: EventStreams,
        metrics: Metrics,
        readers: ThreadPoolExecutor,
    ) -> None:
        self._executor = executor
        self._gate = gate
        self._hub = hub
        self._streams = streams
        self._metrics = metrics
        self._readers = readers
        self._preludes = ThreadPoolExecutor(2, thread_name_prefix="prelude")
        self._uploads = ThreadPoolExecutor(4, thread_name_prefix="upload")
        self._in_prelude = 0
        self._in_progress = 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._boot = executor.around.entropy.letters(10)
        self._count = 0
        rows = [(op.method, op.path, self._bound(op)) for op in operations]
        rows += [("HEAD", path, row) for how, path, row in rows if how == "GET" and row.growing]
        self._paths = Paths(rows)
        self._unknown = metrics.call("none")
        self._tells = _calls.isEnabledFor(logging.INFO)

    def close(self) -> None:
        """No more preludes and uploads."""
        self._preludes.shutdown(wait=False, cancel_futures=True)
        self._uploads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._loop.time()
        self._count += 1
        request = f"{self._boot}-{self._count:x}"
        self._in_progress += 1
        metrics = self._unknown
        bound: Bound | None = None
        caller: Caller | None = None
        try:
            if self._in_progress > _AT_ONCE:
                raise Unavailable("too many requests at once; ask again in a moment")
            bound, ids = self._paths.find(scope["method"], scope["path"])
            metrics = bound.metrics
            said = incoming.headers(scope)
            caller = await self._gate.caller(bound.op.permission, said, scope, request)
            if bound.op.stream is not None:
                await self._stream(bound, caller, said, scope, receive, send)
                return
            if bound.op.writes:
                answer = await self._write(bound, ids, caller, said, scope, receive)
            else:
                answer = await self._read(bound, ids, caller, said, scope, receive)
        except ClientGone:
            metrics.ended(499, self._loop.time() - began)
            return
        except Exception as error:  # noqa: BLE001 - what is not ours is logged there, and told as a 500
            answer = self._refusal(error, request)
        finally:
            self._in_progress -= 1
        answer.headers.append((b"arable-request", request.encode()))
        if scope["method"] == "HEAD":
            answer.body = b""
        answer.headers.append((b"content-length", str(len(answer.body)).encode()))
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        await send({"type": "http.response.body", "body": answer.body})
        took = self._loop.time() - began
        metrics.ended(answer.status, took)
        if self._tells:
            _tell_call(bound, caller, request, answer, took)

    async def _read(
        self,
        bound: Bound,
        ids: tuple[str, ...],
        caller: Caller,
        said: Headers,
        scope: Scope,
        receive: Receive,
    ) -> Answer:
        self._permit(bound.op, caller)
        asked = bound.query.read(incoming.query(scope))
        bound.body.read(await incoming.body(receive, said), said)
        args = ids if asked is None else (*ids, asked)
        wait = bound.op.wait
        if wait is None:
            answer = await self._look(bound, caller, args)
            return self._answer(bound, answer)
        until = self._loop.time() + getattr(asked, "wait", 0)
        while True:
            waiting = self._hub.listen(wait.topic(*ids))
            try:
                answer = await self._look(bound, caller, args)
                left = until - self._loop.time()
                if left <= 0 or wait.over(answer) or self._hub.closed:
                    return self._answer(bound, answer)
                await self._hub.changed(waiting, min(left, _LOOK_AGAIN))
            finally:
                waiting.cancel()

    async def _look(self, bound: Bound, caller: Caller, args: tuple[Any, ...]) -> Any:
        return await self._loop.run_in_executor(
            self._readers, self._executor.read, caller, bound.op.does, args
        )

    async def _write(
        self,
        bound: Bound,
        ids: tuple[str, ...],
        caller: Caller,
        said: Headers,
        scope: Scope,
        receive: Receive,
    ) -> Answer:
        op = bound.op
        found = incoming.query(scope) if scope["query_string"] else {}
        dry = incoming.dry_run(found) if found else False
        target = ",".join(ids)
        order: Order | None = None
        try:
            self._permit(op, caller)
            if dry and not op.dry_run:
                raise BadInput("this call can't be tried", field="dry_run")
            asked = bound.query.read(found)
            args: tuple[Any, ...] = ids if asked is None else (*ids, asked)
            key = incoming.idempotency_key(said)
            if key and (not caller.user or op.receive is not None):
                raise BadInput("this call takes no such header", field="idempotency-key")
            expects = incoming.expected(said)
            if expects is not None and not op.conditional:
                raise BadInput("what is asked for has no generation", field="if-match")
            if op.receive is None:
                raw = await incoming.body(receive, said)
                document = bound.body.read(raw, said)
                if op.takes is not None:
                    args = (*args, document)
                if op.prepare is not None:
                    needed = op.prepare_if is None or op.prepare_if(*args)
                    made = await self._prepared(op.prepare, caller, args) if needed else None
                    args = (*args, made)
            else:
                raw = b""
                more = (incoming.piece(said),) if op.appends else ()
                begin = (op.receive, caller, (*args, *more))
                silence = _SILENCE if op.appends else None
                args = (*args, await self._received(*begin, said, receive, silence))
            order = Order(
                case=bound.case,
                caller=caller,
                args=args,
                target=target,
                dry_run=dry,
                expects=expects,
                key="" if dry else key,
                fingerprint=_fingerprint(said, scope, raw) if key else "",
            )
            done = await self._done(order)
        except CloudError as error:
            if bound.case.batch is None or order is None:  # a batch notes its own
                if order is None:
                    order = Order(
                        case=bound.case, caller=caller, args=ids, target=target, dry_run=dry
                    )
                noted = self._awaited()
                if self._executor.note(order, error, noted):
                    await noted.future
            raise
        if done.repeated is not None:
            return self._repeated(bound, done)
        answer = self._answer(bound, done.answer)
        if dry:
            answer.headers.append((b"arable-dry-run", b"true"))
        return answer

    async def _done(self, order: Order) -> Done:
        for _ in range(_TRIES):
            try:
                into = self._awaited()
                self._executor.write(order, into)
                done: Done = await into.future
            except Exception as error:
                if not lost_race(error):
                    raise
            else:
                return done
        raise Unavailable("others changed the same things all the time; ask again")

    def _awaited(self) -> Awaited:
        return Awaited(self._loop, self._thread)

    async def _prepared(
        self, prepare: Callable[..., Any], caller: Caller, args: tuple[Any, ...]
    ) -> Any:
        if self._in_prelude >= _PRELUDES:
            raise Unavailable("too many such requests at once; ask again in a moment")
        self._in_prelude += 1
        try:
            return await self._loop.run_in_executor(
                self._preludes, prepare, self._executor.prelude(caller), *args
            )
        finally:
            self._in_prelude -= 1

    async def _received(
        self,
        begin: Callable[..., Receiver],
        caller: Caller,
        args: tuple[Any, ...],
        said: Headers,
        receive: Receive,
        silence: float | None,
    ) -> Any:
        """Pass the body on piece by piece; the receiver knows what is left of one that breaks off, or is silent for too long."""
        length = incoming.announced(said)
        if length is not None and length > UPLOAD_LIMIT:
            raise TooLarge("nobody takes this much", field="body")
        run = self._loop.run_in_executor
        receiver = await run(self._uploads, begin, self._executor.prelude(caller), *args)
        complete = False
        try:
            waiting = bytearray()
            more = True
            while more:
                why: Exception | None
                try:
                    async with asyncio.timeout(silence):
                        message = await receive()
                except TimeoutError:
                    told = f"nothing came for {silence:g} seconds; ask how much is here, and go on"
                    why = Unavailable(told)
                else:
                    gone = message["type"] == "http.disconnect"
                    why = ClientGone() if gone else None
                if why is not None:
                    if silence is not None and waiting:  # it goes on later, so each byte counts
                        await run(self._uploads, receiver.write, bytes(waiting))
                    raise why
                waiting += message.get("body", b"")
                more = message.get("more_body", False)
                if waiting and (len(waiting) >= _PIECE or not more):
                    await run(self._uploads, receiver.write, bytes(waiting))
                    waiting.clear()
            received = await run(self._uploads, receiver.done)
            complete = True
            return received
        finally:
            if not complete:
                await asyncio.shield(run(self._uploads, receiver.abort))

    async def _stream(
        self,
        bound: Bound,
        caller: Caller,
        said: Headers,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._permit(bound.op, caller)
        asked = bound.query.read(incoming.query(scope))
        still = self._gate.still(said, scope)
        await self._streams.serve(caller, asked, said.last_event_id, still, receive, send)

    def _answer(self, bound: Bound, answer: Any) -> Answer:
        if bound.op.gives is None:
            return Answer(204, b"", list(_SAFE[1:]))
        headers = list(_SAFE)
        if bound.tagged:
            headers.append((b"etag", b'"%d"' % answer.generation))
        if bound.located:
            headers.append((b"location", b"/v1/operations/" + answer.id.encode()))
        if bound.growing:
            headers += [
                (b"upload-offset", b"%d" % answer.offset),
                (b"upload-length", b"%d" % answer.bytes),
                (b"upload-complete", b"?1" if answer.complete else b"?0"),
            ]
            if bound.op.status == _CREATED:
                headers.append((b"location", f"{bound.op.path}/{answer.id}".encode()))
        made = Answer(bound.op.status, _ENCODER.encode(answer), headers)
        if self._tells:
            made.operation = (
                answer.id if bound.located else getattr(answer, "operation", None) or ""
            )
        return made

    def _repeated(self, bound: Bound, done: Done) -> Answer:
        body = done.repeated or b""
        headers = [*_SAFE, (b"arable-repeated", b"true")]
        if bound.op.secrets:
            headers.append((b"arable-withheld", ", ".join(bound.op.secrets).encode()))
        return Answer(done.status, body, headers if body else headers[1:])

    def _refusal(self, error: Exception, request: str) -> Answer:
        headers = [(b"content-type", problems.MEDIA_TYPE), *_SAFE[1:]]
        if isinstance(error, problems.Fault):
            told = problems.of_fault(error, request)
            headers += list(error.headers.items())
        elif isinstance(error, CloudError):
            told = problems.of_error(error, request)
            if error.detail:
                tell(log, f"{told.type}: {error.detail}", request=request)
            headers += _more_headers(told.status, error)
        else:
            log.error("%s: not foreseen", request, exc_info=error)
            told = problems.of_bug(request)
        return Answer(told.status, problems.body(told), headers, problem=told.type)

    @staticmethod
    def _permit(op: Op, caller: Caller) -> None:
        if isinstance(op.permission, Permission):
            caller.needs(op.permission)

    def _bound(self, op: Op) -> Bound:
        gives = op.gives
        fields = getattr(gives, "__struct_fields__", ())
        status = 204 if gives is None else op.status
        return Bound(
            op,
            UseCase(op.action, op.does, op.batch, op.secrets, status),
            BodyReader(op.takes),
            QueryReader(op.query),
            self._metrics.call(op.name),
            tagged="generation" in fields,
            located=gives is OperationOut and op.writes,
            growing={"offset", "bytes", "complete"} <= set(fields),
        )


def _tell_call(
    bound: Bound | None, caller: Caller | None, request: str, answer: Answer, took: float
) -> None:
    """Who asked for what, and what came of it; not what was said. What only looked is told to those who want it all."""
    looked = bound is not None and not bound.op.writes and answer.status < 400
    tell(
        _calls,
        bound.op.action if bound else "no such call",
        logging.DEBUG if looked else logging.INFO,
        status=answer.status,
        ms=milliseconds(took),
        request=request,
        operation=answer.operation,
        user=caller.user if caller else "",
        source=caller.source if caller else "",
        problem=answer.problem,
    )


def _fingerprint(said: Headers, scope: Scope, body: bytes) -> str:
    """Which request this is. Keyed by the token, since bodies hold passwords and this is kept for a day."""
    made = hmac.new(said.authorization.encode(), digestmod=hashlib.sha256)
    for part in (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body):
        made.update(len(part).to_bytes(8, "big"))
        made.update(part)
    return made.hexdigest()


def _more_headers(status: int, error: CloudError) -> RawHeaders:
    match status:
        case 409 if isinstance(error, WrongOffset) and isinstance(error.why, dict):
            return [(b"upload-offset", str(error.why["offset"]).encode())]
        case 401:
            return [(b"www-authenticate", b'Bearer realm="arable"')]
        case 429 | 503:
            after = error.why.get("retry_after", 1) if isinstance(error.why, dict) else 1
            return [(b"retry-after", str(after).encode())]
        case _:
            return []
