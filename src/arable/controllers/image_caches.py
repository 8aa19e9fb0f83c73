"""What hosts say of images that went out of their pools becomes events, for operators."""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.event import Event
from arable.domain.manifest import HostReport
from arable.domain.pool import ImageEvicted
from arable.domain.units import MIB
from arable.store import events, images, pools
from arable.store.database import Tx


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """One event for each; what a host says of others' pools is nothing."""
    said = [(report.host, gone) for report in reports for gone in report.evicted]
    if not said:
        return
    hosts = pools.hosts_of(tx, {gone.pool for _host, gone in said})
    names = {sha256: images.named_after(tx, sha256) for sha256 in {g.sha256 for _, g in said}}
    told = [
        Event(
            at=at,
            account=None,
            kind="pool.image-evicted",
            subject=gone.pool,
            text=_text(gone, names[gone.sha256]),
        )
        for host, gone in said
        if hosts.get(gone.pool) == host
    ]
    events.add_many(tx, told)


def _text(gone: ImageEvicted, names: Sequence[str]) -> str:
    of = f" ({', '.join(names)})" if names else ""
    return f"image part {gone.sha256[:12]}{of} of {gone.bytes // MIB} MiB went: {gone.why}"
