"""Arable, a cloud operating system: rooms of servers become private data centres."""
