"""The management servers for a person: who is master, who is there, what happened."""

from arable.cli import output
from arable.cli.output import Format
from arable.cli.speaking import Cli, command

_SERVERS = ["name", "state", "master", "farms", "cpu_percent/cpu%", "memory_mib/mib", "lag_ms", "pending", "sequence", "epoch", "site", "version", "asked", "answer"]  # fmt: skip
_ELECTIONS = ["epoch", "at", "server", "cause", "agreed"]


def _status(cli: Cli) -> None:
    """Show the management servers: master, heartbeats, load, farms held, and the last elections."""
    found = cli.cloud.control.status()
    if cli.form is not Format.TABLE:
        cli.show(found)
        return
    master, farms = found.master, found.farms
    said = f"{master.server}, epoch {master.epoch}" if master.acting else "nobody acts"
    if master.suspected_by:
        said += f"; not found by {', '.join(master.suspected_by)}"
    summary = {
        "master": said,
        "since": master.since,
        "farms": f"{farms.total}, {farms.unheld} without a server, {farms.unconfirmed} on their way",
    }
    output.write(summary, Format.TABLE)
    for rows, columns in ((found.servers, _SERVERS), (found.elections, _ELECTIONS)):
        cli.note("")
        output.write(rows, Format.TABLE, columns)


status = command(_status)
