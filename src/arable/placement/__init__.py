"""Where machines go, and why: pure functions over a snapshot of hosts."""
