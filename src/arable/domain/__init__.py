"""Values and life cycles: what things are and may become. Imports nothing of ours, does no I/O."""
