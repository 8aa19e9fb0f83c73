"""Arable, a cloud operating system: rooms of servers become private data centres."""

import sys

# httpx brings along its own command line where it can, and with it twice as much again as httpx itself: 0.06 s of each
# command and 5 MB of each agent. A name that is None is one that can't be imported, which httpx is ready for.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
