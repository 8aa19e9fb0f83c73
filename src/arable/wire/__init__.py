"""Documents that cross a process boundary, versioned, parsed here once."""
