"""The host's own part: makes the host what its manifest says, and tells what it is."""
