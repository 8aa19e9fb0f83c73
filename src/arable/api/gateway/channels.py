"""The hosts whose channels this management server has. Nothing here is truth: all of it may be dropped at any time.

Pushing: what this server wrote goes from memory to the hosts that have all that came before. The others that a nudge
names, and those that were named while the last look at the store was on its way, are looked up together by the next one.
What is sent is always the difference from what the host has, so a host that was named ten times is looked up once.
Nudges are hints, so all channels are compared with the store every few seconds as well.

Agents: told of the other servers, and asked to go to those that have fewer (`services/spread.py`); all of them, when this
server is about to leave. Where the store is behind, nobody is let in before it has caught up (`pace.py`).

Reports: queued, and kept in batches, each in one transaction: at once where there is news in them; those that only say
that a host lives, and what its machines use, are gathered for a moment, since a transaction costs as much as fifty of
them. The queue is bounded; when it is full, channels are not
read. A report is a difference too, so where one could not be kept its channel is closed, and the next one begins with a
full report.
"""

import asyncio
import heapq
import logging
import socket
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from itertools import islice
from operator import attrgetter

from arable.api.gateway.channel import (
    BAD_MESSAGE,
    EXPIRED,
    NOT_YOURS,
    REMOVED,
    SILENT,
    TAKEN_OVER,
    Channel,
)
from arable.api.gateway.pace import Pace
from arable.domain.errors import BadInput, CloudError, Forbidden, Unauthenticated, Unavailable
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import HostReport
from arable.domain.settings import IMAGE_CACHE_SECONDS
from arable.runtime.clock import Clock
from arable.runtime.metrics import GatewayFigures
from arable.services.agents import REPLACED, check_inventory
from arable.services.desk import Desk, News, lost_race
from arable.services.spread import Peer, moves, seconds_to_return
from arable.wire.agent import Elsewhere, Hello, OpenConsole, Welcome, encode

log = logging.getLogger(__name__)

HOSTS_AT_ONCE = 500  # in one look at the store
REPORTS_AT_ONCE = 1000
QUEUE = 8000
GATHER = 0.5  # seconds that a report without news waits for others
GREETINGS = 2000  # that are not kept yet
EARLY = 16  # reports before the greeting is kept
LOOK_EVERY = 2.0
SPREAD_EVERY = 5  # looks
MOST_OTHERS = 16  # that an agent is told of
NOTE_EVERY = 2.0  # that a host was heard, and what it holds, is not written more often
HELLO_WITHIN = 15.0
UNHEARD_REPORTS = (
    3.5  # this many report intervals without a word, and the channel is taken for dead
)
_AGAIN = 0.5


class Channels:
    """Made and used on the event loop, but `nudge`, which is for any thread."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        figures: GatewayFigures | None = None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        """`leaving`: whether other servers should have the agents."""
        self.figures = figures or GatewayFigures()
        self.pace = Pace(clock.monotonic)
        self._leaving = leaving
        self._peers: Sequence[Peer] = ()
        self._looks = 0
        self._desk = desk
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="manifests")
        self._tasks: list[asyncio.Task[None]] = []
        self._all: set[Channel] = set()
        self._connected: dict[HostId, Channel] = {}
        self._greeting: dict[HostId, int] = {}
        self._behind: set[HostId] = set()
        self._push_wanted = asyncio.Event()
        self._reports: deque[tuple[Channel, HostReport]] = deque()
        self._reports_there = asyncio.Event()
        self._paused: set[Channel] = set()
        self._left: set[HostId] = set()
        self._report_seconds = 10
        self._image_cache_seconds = IMAGE_CACHE_SECONDS.default
        self._closing = False

    @property
    def hosts(self) -> Collection[HostId]:
        """Those that are connected here now."""
        return self._connected.keys()

    @property
    def reports_waiting(self) -> int:
        """How many reports the store does not have yet."""
        return len(self._reports)

    def start(self) -> None:
        """Begin to push, to take reports and to look around."""
        for work in (self._push, self._take, self._look_around):
            self._tasks.append(self._loop.create_task(work()))

    async def stop(self) -> None:
        """Tell every agent to go elsewhere, and the store that they have gone."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in list(self._all):
            channel.shutdown()
        self._left |= self._connected.keys()
        try:
            await self._note()
        except CloudError as error:
            log.info("channels closed, and the store does not know yet: %s", error.public)
        await self._loop.run_in_executor(None, self._threads.shutdown)

    def nudge(self, hosts: Collection[HostId], news: Iterable[News] = ()) -> None:
        """These hosts' manifests grew, by this if it is known; after the commit, from any thread."""
        if hosts and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, hosts, news)

    def open_console(self, host: HostId, ticket: str, machine: MachineId) -> bool:
        """Ask a host for a machine's console; False when its channel is not here."""
        channel = self._connected.get(host)
        if channel is None or not channel.ready:
            return False
        channel.send(encode(OpenConsole(ticket=ticket, machine=machine)))
        return True

    def crowded(self) -> int:
        """In how many seconds somebody should come back who wants a channel; 0: they may have one."""
        if self._leaving() and self._peers:
            return 1
        if len(self._greeting) >= GREETINGS or len(self._reports) >= QUEUE:
            return self.pace.come_back()
        return 0

    # --- what the channels bring ----------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        """Connected; the greeting has to come soon."""
        channel.heard_at = self._loop.time()
        self._all.add(channel)

    def greeted(self, channel: Channel, hello: Hello) -> None:
        """The first word, or the same again by an agent that wants to hear everything anew."""
        channel.heard_at = self._loop.time()
        host = channel.host
        if hello.host != host:
            channel.close(NOT_YOURS, "a host speaks for itself only")
            return
        if self._closing:
            channel.shutdown()
            return
        channel.ready = False
        channel.moves = hello.moves
        self._left.discard(host)
        self._greeting[host] = self._greeting.get(host, 0) + 1
        try:
            kept = self._desk.greet(host, hello, channel.peer.epoch)
        except Unavailable as error:
            self._refuse(channel, error)
            return
        asyncio.wrap_future(kept).add_done_callback(partial(self._welcome, channel, hello))

    def reported(self, channel: Channel, report: HostReport) -> None:
        """Queue it; whoever is faster than the store has to wait."""
        channel.heard_at = self._loop.time()
        self.figures.reports += 1
        if report.host != channel.host:
            channel.close(NOT_YOURS, "a host reports of itself only")
            return
        if not channel.ready:
            if len(channel.early) < EARLY and channel.host in self._greeting:
                channel.early.append(report)
            else:
                channel.close(NOT_YOURS, "say hello first")
            return
        if report.inventory is not None:
            try:
                check_inventory(report.inventory)
            except BadInput as error:
                channel.close(BAD_MESSAGE, error.public)
                return
        self._reports.append((channel, report))
        if _news(report, channel.said) or len(self._reports) >= REPORTS_AT_ONCE:
            self._reports_there.set()
        elif len(self._reports) == 1:
            self._loop.call_later(GATHER, self._reports_there.set)
        channel.said = report.generation
        if len(self._reports) >= QUEUE:
            self._reports_there.set()
            channel.pause()
            self._paused.add(channel)

    def drained(self, channel: Channel) -> None:
        """It reads again what we write."""
        self._want_push([channel.host])

    def closed(self, channel: Channel) -> None:
        """Gone; whether its host is silent is for others to judge."""
        self._all.discard(channel)
        self._paused.discard(channel)
        if self._connected.get(channel.host) is channel:
            del self._connected[channel.host]
            if channel.host not in self._greeting:
                self._left.add(channel.host)

    def _welcome(self, channel: Channel, hello: Hello, kept: "asyncio.Future[None]") -> None:
        """The greeting is kept, or refused."""
        host = channel.host
        error = kept.exception()
        if error is not None:
            self._refuse(channel, error)
            return
        self._greeted(host)
        if not channel.open:
            if host not in self._connected and host not in self._greeting:
                self._left.add(host)
            return
        before = self._connected.get(host)
        if before is not None and before is not channel:
            before.close(TAKEN_OVER, "this host has another channel by now")
        self._connected[host] = channel
        channel.ready = channel.fresh = True
        channel.have = hello.have
        channel.noted_at = self._loop.time()
        channel.send(encode(self._welcoming()))
        self._want_push([host])
        early, channel.early = channel.early, []
        for report in early:
            self.reported(channel, report)

    def _welcoming(self) -> Welcome:
        servers = len(self._peers) + 1
        agents = len(self._connected) + sum(peer.agents for peer in self._peers)
        return Welcome(
            server=self._desk.server,
            report_seconds=self._report_seconds,
            image_cache_seconds=self._image_cache_seconds,
            others=tuple(peer.address for peer in self._peers[:MOST_OTHERS]),
            spread_seconds=round(seconds_to_return(agents, servers - 1, self.pace.rate), 1),
        )

    def _refuse(self, channel: Channel, error: BaseException) -> None:
        self._greeted(channel.host)
        if self._connected.get(channel.host) is channel:
            del self._connected[channel.host]
            self._left.add(channel.host)
        match error:
            case Forbidden():
                channel.close(REMOVED, error.public)
            case Unauthenticated():
                channel.close(EXPIRED, error.public)
            case BadInput():
                channel.close(NOT_YOURS, error.public)
            case CloudError():
                if channel.moves:
                    channel.send(encode(Elsewhere(seconds=self.pace.come_back())))
                channel.close(1013, error.public)
            case _:
                channel.close(1011, "an error of ours")

    def _greeted(self, host: HostId) -> None:
        left = self._greeting.pop(host, 1) - 1
        if left:
            self._greeting[host] = left

    # --- manifests -------------------------------------------------------------------------------------------------

    def _tell(self, hosts: Collection[HostId], news: Iterable[News]) -> None:
        """Send what was just written to those that hold what came before it; the others are looked up."""
        behind = set(hosts)
        for each in news:
            channel = self._reads(each.host)
            if channel is None or channel.fresh or channel.have != each.base:
                continue
            frame = each.frame()
            channel.send(frame.data)
            channel.have = frame.generation
            behind.discard(each.host)
        if behind:
            self._want_push(behind)

    def _want_push(self, hosts: Collection[HostId]) -> None:
        self._behind.update(hosts)
        self._push_wanted.set()

    async def _push(self) -> None:
        while True:
            await self._push_wanted.wait()
            self._push_wanted.clear()
            while self._behind:
                hosts = list(islice(self._behind, HOSTS_AT_ONCE))
                self._behind.difference_update(hosts)
                have = {host: channel.have for host in hosts if (channel := self._reads(host))}
                if not have:
                    continue
                try:
                    frames = await self._loop.run_in_executor(
                        self._threads, self._desk.frames, have
                    )
                except Exception as error:  # noqa: BLE001 - logged there
                    _log_failure("manifests could not be looked up", error)
                    self._behind.update(have)
                    await asyncio.sleep(_AGAIN)
                    continue
                for host, before in have.items():
                    channel = self._reads(host)
                    if channel is None:
                        continue
                    if channel.have != before:
                        self._behind.add(host)  # another channel, which may have less
                        continue
                    frame = frames.get(host)
                    if frame is None:
                        channel.close(REMOVED, "this host was removed")
                    elif frame.data and (channel.fresh or frame.generation != before):
                        channel.send(frame.data)
                        channel.have, channel.fresh = frame.generation, False

    def _reads(self, host: HostId) -> Channel | None:
        """Its channel, if what is sent now is read soon; `drained` comes back to the others."""
        channel = self._connected.get(host)
        return channel if channel is not None and channel.ready and not channel.choked else None

    # --- reports ---------------------------------------------------------------------------------------------------

    async def _take(self) -> None:
        while True:
            await self._reports_there.wait()
            self._reports_there.clear()
            here = len(self._reports)
            while here > 0:
                batch = [self._reports.popleft() for _ in range(min(here, REPORTS_AT_ONCE))]
                here -= len(batch)
                if len(self._reports) < QUEUE // 2:
                    while self._paused:
                        self._paused.pop().resume()
                await self._keep(batch)
            if self._reports:
                self._loop.call_later(GATHER, self._reports_there.set)

    async def _keep(self, batch: list[tuple[Channel, HostReport]]) -> None:
        """In one go; one by one where that fails, to find out whose fault it is."""
        # A host that has begun a new channel says everything again there; what it said before might be older.
        batch = [(channel, report) for channel, report in batch if channel.ready]
        while batch:
            try:
                await self._settle(batch)
                return
            except Unavailable as error:
                _log_failure("reports have to wait", error)
                await asyncio.sleep(_AGAIN)
                batch = [(channel, report) for channel, report in batch if channel.ready]
            except Exception as error:  # noqa: BLE001 - logged there
                if lost_race(error):
                    continue
                if len(batch) == 1:
                    channel, report = batch[0]
                    _log_failure(f"a report of {report.host} could not be kept", error)
                    channel.close(1011, "a report could not be kept; say everything again")
                    return
                for each in batch:
                    await self._keep([each])
                return

    async def _settle(self, batch: list[tuple[Channel, HostReport]]) -> None:
        now = self._loop.time()
        due = {channel for channel, _ in batch if now - channel.noted_at >= NOTE_EVERY}
        alive = sorted({channel.host for channel in due})
        await asyncio.wrap_future(self._desk.report([report for _, report in batch], alive))
        for channel in due:
            channel.noted_at = now

    # --- every few seconds -----------------------------------------------------------------------------------------

    async def _look_around(self) -> None:
        while True:
            try:
                if self._all:
                    self._drop_dead()
                    await self._compare()
                    self._report_seconds = await self._loop.run_in_executor(
                        self._threads, self._desk.report_seconds
                    )
                    self._image_cache_seconds = await self._loop.run_in_executor(
                        self._threads, self._desk.image_cache_seconds
                    )
                if self._leaving() or self._looks % SPREAD_EVERY == 0:
                    await self._spread()
                self._looks += 1
                await self._note()
            except Exception as error:  # noqa: BLE001 - logged there
                _log_failure("looking after the channels", error)
            await asyncio.sleep(LOOK_EVERY)

    async def _spread(self) -> None:
        """Ask some agents to go elsewhere, if that is where they should be. Whoever was asked lately is left alone."""
        self._peers = await self._loop.run_in_executor(self._threads, self._desk.peers)
        self.pace.first = frozenset([ip for peer in self._peers for ip in await _found(peer)])
        leaving = self._leaving()
        ready = [channel for channel in self._connected.values() if channel.ready]
        having = {peer.address: peer.agents for peer in self._peers}
        wanted = moves(len(ready), having, leaving=leaving)
        targets = [address for address, count in wanted.items() for _ in range(count)]
        able = [channel for channel in ready if channel.moves or leaving]
        for channel, address in zip(
            heapq.nsmallest(len(targets), able, key=attrgetter("asked_at")), targets, strict=False
        ):
            channel.asked_at = self._loop.time()
            if channel.moves:
                channel.send(encode(Elsewhere(servers=(address,), leaves=leaving)))
            else:
                channel.shutdown()

    def _drop_dead(self) -> None:
        now, today = self._loop.time(), self._clock.now()
        for channel in list(self._all):
            unheard = now - channel.heard_at
            if channel.ready and unheard > max(
                UNHEARD_REPORTS * self._report_seconds, HELLO_WITHIN
            ):
                channel.abort()
            elif channel.ready and channel.peer.until <= today:
                channel.close(EXPIRED, "the certificate's time is over; come back with a fresh one")
            elif not channel.ready and channel.host not in self._greeting:
                if unheard > 2 * HELLO_WITHIN:
                    channel.abort()
                elif unheard > HELLO_WITHIN:
                    channel.close(SILENT, "say hello first")

    async def _compare(self) -> None:
        """Find the nudges that were lost, and hosts that were removed or have gone to another server."""
        before = {host: channel for host, channel in self._connected.items() if channel.ready}
        if not before:
            return
        found = await self._loop.run_in_executor(self._threads, self._desk.look, before.keys())
        for host, channel in before.items():
            if self._connected.get(host) is not channel or not channel.ready:
                continue
            if host not in found:
                channel.close(REMOVED, "this host was removed")
                continue
            now = found[host]
            if channel.peer.epoch < now.epoch:
                channel.close(EXPIRED, REPLACED)
            elif now.server != self._desk.server:
                told = f"this host has its channel at {now.server or 'no server'}"
                channel.close(TAKEN_OVER, told)
            elif now.generation != channel.have:
                self._want_push([host])

    async def _note(self) -> None:
        """Tell the store who has left; again next time if that fails."""
        left, self._left = self._left, set()
        if not left:
            return
        try:
            kept = [asyncio.wrap_future(self._desk.left(host)) for host in sorted(left)]
            await asyncio.gather(*kept)
        except BaseException:
            self._left |= left - self._connected.keys()
            raise


_CALM = {"host", "generation", "vlans", "pools", "stats"}
_TOLD = tuple(each for each in fields(HostReport) if each.name not in _CALM)
_told = attrgetter(*(each.name for each in _TOLD))
_NOTHING = tuple(each.default for each in _TOLD)


def _news(report: HostReport, said: int) -> bool:
    """Whether somebody may wait for what it says: its host holds another manifest, or something has changed."""
    return report.generation != said or _told(report) != _NOTHING


async def _found(peer: Peer) -> list[str]:
    """The addresses of another server; empty when its name is not known now."""
    host, _, port = peer.address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(each[4][0]) for each in found]


def _log_failure(what: str, error: BaseException) -> None:
    if isinstance(error, CloudError):
        log.warning("%s: %s", what, error.public)
    else:
        log.error("%s", what, exc_info=error)
