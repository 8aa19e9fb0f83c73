"""The command line: a person's and a script's way to the public API, and to nothing else.

`nouns.py` is the table that the commands are made from; `fields.py` makes options of the wire's structs. What does not
follow from a call's form (signing in, the console, uploads, files that say what should be) has a module of its own.
"""
