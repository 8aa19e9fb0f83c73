"""Which cloud a command of this machine is about: the option that says where its data is.

Apart from the commands themselves, so that a server does not load the whole lab for the sake of one option (15 MB).
"""

from pathlib import Path
from typing import Annotated

import typer

HOME = "ARABLE_DATA"


def default_data() -> Path:
    """Where `arable up` keeps a cloud when it is not told."""
    return Path.home() / ".local" / "share" / "arable"


Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar=HOME,
        default_factory=default_data,
        show_default="~/.local/share/arable",
        help="The cloud's data directory.",
    ),
]
