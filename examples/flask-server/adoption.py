"""
Copies the table `storage` of an old server, in the transaction that creates the tables. The old table stays unchanged,
so the old server can still be started.
"""

import logging

from json_text import is_json
from records import ANONYMOUS_TENANT, Records


def adopt_old_table(db):
    """Copies the rows once. Rows without a key or without a JSON value stay in the old table only."""
    adopted = db.execute("SELECT 1 FROM meta WHERE name = 'adopted'").fetchone()
    if not adopted and columns(db, "storage") >= {"key", "value"}:
        copy_rows(db)


def columns(db, table):
    return {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def copy_rows(db):
    records = Records(db, ANONYMOUS_TENANT)
    skipped = 0
    for key, value in db.execute("SELECT key, value FROM storage"):
        if isinstance(key, str) and is_json(value):
            records.put(key, value)
        else:
            skipped += 1
    records.save()
    db.execute("INSERT INTO meta VALUES ('adopted', 'storage')")
    if skipped:
        logging.getLogger("app").warning(
            "Did not adopt %d rows: they have no key or no JSON value, and stay in the old table", skipped
        )
