"""What a storage host answers to questions about its leases. No I/O but the pools'; the port and the simulator share it."""

from collections.abc import Callable

import msgspec

from arable.domain.errors import CloudError, Forbidden, Stale
from arable.domain.ids import HostId, MachineId
from arable.drivers.storage.iscsi import names
from arable.drivers.storage.leases import Away, Coming, TooEarly
from arable.drivers.storage.protocol import Shares
from arable.wire.leases import Answer, Ask, Disk, Question, Said, Verb, Verdict

_AGAIN_SECONDS = 2.0  # after what can't be foreseen
_WITH_DISKS = frozenset({Verdict.HELD, Verdict.COMING})


class LeaseDesk:
    """For one pool."""

    def __init__(self, pool: Shares) -> None:
        self._pool = pool

    def quick(self, question: Question) -> bool:
        """Whether it can be answered without waiting for disks."""
        return all(ask.verb is Verb.RENEW for ask in question.asks)

    def answer(self, holder: HostId, question: Question) -> Answer:
        """What becomes of each ask; trouble with one says nothing about the others."""
        return Answer(said=[self._answer(holder, ask) for ask in question.asks])

    def _answer(self, holder: HostId, ask: Ask) -> Said:
        machine, epoch = MachineId(ask.machine), ask.epoch
        leases = self._pool.leases

        def said(verdict: Verdict, told: str = "", seconds: float = 0.0) -> Said:
            return Said(
                machine=machine,
                epoch=epoch,
                verdict=verdict,
                seconds=seconds,
                passed=verdict is Verdict.HELD and leases.record(machine).passed,
                disks=self._disks(machine, holder, epoch) if verdict in _WITH_DISKS else [],
                told=told,
            )

        acts: dict[Verb, Callable[[], Said]] = {
            Verb.ACQUIRE: lambda: said(
                Verdict.HELD, seconds=leases.acquire(machine, holder, epoch)
            ),
            Verb.RENEW: lambda: said(Verdict.HELD, seconds=leases.renew(machine, holder, epoch)),
            Verb.KEEP: lambda: said(
                Verdict.HELD, seconds=leases.keep(machine, holder, epoch, ask.to)
            ),
        }
        try:
            if ask.verb is Verb.RELEASE:
                leases.release(machine, holder, epoch)
                return said(Verdict.FREE)
            if ask.verb is Verb.HAND_OVER:
                leases.hand_over(machine, holder, epoch, ask.to)
                return said(Verdict.FREE)
            return acts[ask.verb]()
        except Coming as error:
            return said(Verdict.COMING, error.public)
        except Away as error:
            return said(Verdict.AWAY if error.to == ask.to else Verdict.LOST, error.public)
        except TooEarly as error:
            return said(Verdict.WAIT, error.public, error.seconds)
        except Stale as error:
            return said(Verdict.LOST, error.public)
        except Forbidden as error:
            return said(Verdict.REFUSED, error.public)
        except CloudError as error:
            return said(Verdict.WAIT, error.public, _AGAIN_SECONDS)

    def _disks(self, machine: MachineId, holder: HostId, epoch: int) -> list[Disk]:
        found = []
        for volume in self._pool.leases.record(machine).volumes:
            at = self._pool.where(volume, epoch)
            disk = Disk(
                volume=volume, address=at.address, port=at.port, name=at.name, pool=at.pool or ""
            )
            if at.secret:
                who = names.initiator(holder, at.storage_zone)
                disk = msgspec.structs.replace(disk, initiator=who, secret=at.secret.reveal())
            found.append(disk)
        return found
