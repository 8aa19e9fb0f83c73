"""How a process writes its log: an option of every process, and a word of the environment for those that start several."""

from typing import Annotated

import typer

from arable.runtime.log import Form

LOG, VERBOSE = "ARABLE_LOG", "ARABLE_VERBOSE"

Log = Annotated[
    Form,
    typer.Option(
        "--log",
        envvar=LOG,
        help="How lines of the log look; as json, each unit of work has one, with its ids and durations.",
    ),
]

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", envvar=VERBOSE, help="Say more.", show_envvar=False)
]
