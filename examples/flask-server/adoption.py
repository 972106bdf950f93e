"""
Copies the table `storage` of an old server, in the transaction that creates the tables. The old table stays unchanged,
so the old server can still be started.

The old server could store a value under the key "". No listing names it and no import accepts it, so it is not copied.
"""

import logging

from json_text import is_json
from records import ANONYMOUS_TENANT, Records


log = logging.getLogger("app")


def adopt_old_table(db):
    """Copies the rows once. Rows without a key or without a JSON value stay in the old table only."""
    if db.execute("SELECT 1 FROM meta WHERE name = 'adopted'").fetchone():
        delete_empty_key(db)
    elif columns(db, "storage") >= {"key", "value"}:
        copy_rows(db)


def columns(db, table):
    return {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def copy_rows(db):
    records = Records(db, ANONYMOUS_TENANT)
    skipped = 0
    for key, value in db.execute("SELECT key, value FROM storage"):
        if isinstance(key, str) and key != "" and is_json(value):
            records.put(key, value)
        else:
            skipped += 1
    records.save()
    db.execute("INSERT INTO meta VALUES ('adopted', 'storage')")
    if skipped:
        log.warning("Did not adopt %d rows: they have no key or no JSON value, and stay in the old table", skipped)


def delete_empty_key(db):
    """Earlier versions of both servers copied it."""
    records = Records(db, ANONYMOUS_TENANT)
    if records.rev("") is not None:
        records.delete("")
        records.save()
        log.warning('Deleted the key "", which no client can list or import. It stays in the old table `storage`')
