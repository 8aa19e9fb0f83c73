"""What moves real things: each kind has a protocol, a real driver or more, and a simulator that can fail."""
