"""
Older databases become ours, inside the transaction that makes the tables.

The table `storage` of an old server is copied once, and itself stays as it is, so that the old server can still be
started. The table `entries` of the first version of this server, which knew no tenants, is moved.
"""

import logging

from json_text import is_json
from records import ANONYMOUS_TENANT, Records


def adopt_older(db):
    if columns(db, "entries") >= {"key", "value", "rev"}:
        move_entries(db)
    done = db.execute("SELECT 1 FROM meta WHERE name = 'adopted'").fetchone()
    if not done and columns(db, "storage") >= {"key", "value"}:
        copy_storage(db)


def columns(db, table):
    return {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def move_entries(db):
    """Revisions stay what they are, unless there are newer ones already."""
    records = Records(db, ANONYMOUS_TENANT)
    db.execute(
        "INSERT OR REPLACE INTO records (tenant, key, value, rev)"
        " SELECT ?, key, value, CAST(rev AS INTEGER) + ? FROM entries",
        (ANONYMOUS_TENANT, records.seq),
    )
    row = db.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'seq'").fetchone()
    records.seq += row[0] if row else 0
    records.save()
    db.execute("DELETE FROM meta WHERE name = 'seq'")
    db.execute("DROP TABLE entries")


def copy_storage(db):
    records = Records(db, ANONYMOUS_TENANT)
    left = 0
    for key, value in db.execute("SELECT key, value FROM storage"):
        if isinstance(key, str) and is_json(value):
            records.put(key, value)
        else:
            left += 1
    records.save()
    db.execute("INSERT INTO meta VALUES ('adopted', 'storage')")
    if left:
        logging.getLogger("app").warning("%d rows of the old table have no key or no JSON value: left there", left)
