"""
The SQLite file: its tables, which the TypeScript server reads and writes too, and transactions over it.

Durable with WAL and synchronous=FULL. A transaction takes the write lock before it reads, so no two writers decide
on the same state.
"""

import logging
import os
import secrets
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

from json_text import is_json

DATABASE_PATH = os.path.abspath(os.environ.get("DATABASE_PATH") or "codeforge-flask.db")
LOCK_WAIT_SECONDS = 10
TAG = "(SELECT value FROM meta WHERE name = 'epoch') || '.' || rev"
own = threading.local()
write_turn = threading.Lock()  # SQLite's own waiting polls, so the threads of one worker queue here first


def is_result(error, name):
    return getattr(error, "sqlite_errorname", "SQLITE_BUSY").startswith(name)  # told from Python 3.11 on


def connect():
    db = sqlite3.connect(DATABASE_PATH, timeout=LOCK_WAIT_SECONDS, isolation_level=None)
    db.execute("PRAGMA synchronous=FULL")
    return db


def database():
    """This thread's connection."""
    if not hasattr(own, "db"):
        own.db = connect()
    return own.db


@contextmanager
def immediate(db):
    """A transaction that holds the write lock from its begin; durable when the block is left."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def writing():
    with write_turn, immediate(database()) as db:
        yield db


def current_tag(db, key):
    row = db.execute(f"SELECT {TAG} FROM entries WHERE key = ?", (key,)).fetchone()
    return row and row[0]


def advance(db, changes=1):
    """Count the changes; the sequence number of the last. Node.js stores it as a REAL, hence the CAST."""
    db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE name = 'seq'", (changes,))
    return db.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0]


def store(db, entries):
    """Insert or overwrite `{key: value text}`."""
    first = advance(db, len(entries)) - len(entries) + 1
    db.executemany(
        "INSERT INTO entries (key, value, rev) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, rev = excluded.rev",
        ((key, value, rev) for rev, (key, value) in enumerate(entries.items(), first)),
    )


def adopt(db):
    """Copy an old server's table `storage`, once; the table itself stays as it is."""
    columns = {column[1] for column in db.execute("PRAGMA table_info(storage)")}
    done = db.execute("SELECT 1 FROM meta WHERE name = 'adopted'").fetchone()
    if done or not columns >= {"key", "value"}:
        return
    left = 0
    for key, value in db.execute("SELECT key, value FROM storage"):
        if isinstance(key, str) and is_json(value):
            store(db, {key: value})
        else:
            left += 1
    db.execute("INSERT INTO meta VALUES ('adopted', 'storage')")
    if left:
        logging.getLogger("app").warning("%d rows of the old table have no key or no JSON value: left there", left)


def make_tables(db):
    db.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value)")
    db.execute(
        "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, rev INTEGER NOT NULL)"
    )
    db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?), ('seq', 0)", (secrets.token_hex(8),))


def prepare():
    """Make the tables or find them made; any number of workers may do this at once."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            with closing(connect()) as db:
                db.execute("PRAGMA journal_mode=WAL")  # does not wait for a lock itself, hence the loop
                with immediate(db):
                    make_tables(db)
                    adopt(db)
                return
        except sqlite3.OperationalError as error:
            if not is_result(error, "SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
