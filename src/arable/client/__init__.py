"""A typed client of Arable's own API: for the command line, for tests, for other regions."""
