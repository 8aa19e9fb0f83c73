"""How this process asks for memory, and that it gives it back.

glibc learns from what is freed: after the first password was checked (19 MiB for a moment) it would take blocks of that
size from the heap, and keep up to twice as much there for ever. Told once, it goes on taking large blocks from the
kernel and returning them, which costs microseconds each.
"""

import ctypes

_MMAP_THRESHOLD = -3  # of mallopt(3)
_LARGE = 1 << 20


def return_large_blocks() -> bool:
    """Blocks of a megabyte or more go back to the kernel when they are freed; False where the C library is another."""
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE))
    except (AttributeError, OSError):
        return False
