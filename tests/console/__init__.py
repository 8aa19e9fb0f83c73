"""With this file pytest takes the directory for a package, and ends its fixtures with its last test."""
