"""
The SQLite file: its tables, which the TypeScript server reads and writes too, and transactions over it.

- `meta`: `epoch` names this incarnation of the data.
- `tenants`: `seq` counts a tenant's changes and only grows; `cleared` is its value at the last clear, `forgotten` the
  highest revision among the tombstones that are gone.
- `records`: keys with values, and those deleted since the last clear, without one (tombstones). The value stands last:
  SQLite walks through a large one to reach what stands behind it.
- `clients`: of each client its last numbered writes, `first_n` to `last_n`, and their results.

Durable with WAL and synchronous=FULL. A transaction that writes takes the write lock before it reads, so no two
writers decide on the same state, and sequence numbers are committed in their order.
"""

import logging
import os
import secrets
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

DATABASE_PATH = os.path.abspath(os.environ.get("DATABASE_PATH") or "codeforge-flask.db")
LOCK_WAIT_SECONDS = 10
DAY_SECONDS = 24 * 60 * 60
KEPT_MS = 30 * DAY_SECONDS * 1000
own = threading.local()
write_turn = threading.Lock()  # SQLite's own waiting polls, so the threads of one worker queue here first
stopping = threading.Event()  # set when this process is asked to end

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS tenants (
  tenant TEXT PRIMARY KEY, seq INTEGER NOT NULL DEFAULT 0, cleared INTEGER NOT NULL DEFAULT 0,
  forgotten INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS records (
  tenant TEXT NOT NULL, key TEXT NOT NULL, rev INTEGER NOT NULL, deleted_at_ms INTEGER, value TEXT,
  PRIMARY KEY (tenant, key));
CREATE INDEX IF NOT EXISTS records_by_rev ON records (tenant, rev);
CREATE INDEX IF NOT EXISTS tombstones ON records (deleted_at_ms) WHERE value IS NULL;
CREATE TABLE IF NOT EXISTS clients (
  tenant TEXT NOT NULL, client TEXT NOT NULL, first_n INTEGER NOT NULL, last_n INTEGER NOT NULL,
  results TEXT NOT NULL, used_at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, client)) WITHOUT ROWID;
"""


def is_result(error, name):
    return getattr(error, "sqlite_errorname", "SQLITE_BUSY").startswith(name)  # told from Python 3.11 on


def now_ms():
    return time.time_ns() // 1_000_000


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
def transaction(db, begin="BEGIN IMMEDIATE"):
    """Holds the write lock from its begin, unless told otherwise; durable when the block is left."""
    db.execute(begin)
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def data_version(db):
    """Another number after every commit of another connection, whichever process it is in."""
    return db.execute("PRAGMA data_version").fetchone()[0]


def prepare(adopt):
    """Make the tables or find them made, and `adopt(db)` older ones; any number of workers may do this at once."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            with closing(connect()) as db:
                db.execute("PRAGMA journal_mode=WAL")  # does not wait for a lock itself, hence the loop
                with transaction(db):
                    for statement in TABLES.split(";"):
                        db.execute(statement)
                    db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
                    adopt(db)
                    forget_old(db)
                return
        except sqlite3.OperationalError as error:
            if not is_result(error, "SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def forget_old(db):
    """Drop tombstones, and what is kept for the retries of clients, after 30 days."""
    old = (now_ms() - KEPT_MS,)
    gone = "FROM records WHERE value IS NULL AND deleted_at_ms < ?"
    db.execute(
        "UPDATE tenants SET forgotten ="
        f" MAX(forgotten, COALESCE((SELECT MAX(rev) {gone} AND records.tenant = tenants.tenant), 0))",
        old,
    )
    db.execute(f"DELETE {gone}", old)
    db.execute("DELETE FROM clients WHERE used_at_ms < ?", old)


def forget_daily():
    while not stopping.wait(DAY_SECONDS):
        try:
            with closing(connect()) as db, transaction(db):
                forget_old(db)
        except sqlite3.OperationalError:
            logging.getLogger("app").exception("What is old was not forgotten; tomorrow again")
