"""Steps from one schema to the next, in `versions/`; `tools/new_revision.py` writes them, `store/migrate.py` takes them.

Only expand and contract: a server of the version before must be able to work on the schema of this one.
"""
