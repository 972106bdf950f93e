"""
The SQLite file: its tables, and transactions. The TypeScript server reads and writes the same tables.

- `meta`: `epoch` identifies this incarnation of the data.
- `tenants`: `seq` counts a tenant's changes and never decreases. `cleared` is its value at the last clear. `forgotten`
  is the highest revision of all expired tombstones.
- `records`: entries, and tombstones (without a value) for keys that were deleted since the last clear. Rows up to `cleared`
  do not count: after a clear, the TypeScript server deletes them in slices. The value is the last column: SQLite reads
  through a large value to reach the columns after it.
- `mutation_clients`: the clients that number their mutations. `settled` is the number up to which a client has settled
  all of them, `top` the highest number.
- `mutations`: the results of a mutation's writes; null if its client gave it up. Rows with a settled number count as
  deleted.

WAL with synchronous=FULL makes commits durable. A write transaction takes the write lock before it reads. So no two
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
RETENTION_MS = 30 * DAY_SECONDS * 1000
RESERVE_BYTES = 32 * 1024 * 1024
MESSAGES = {"SQLITE_BUSY": "database is locked", "SQLITE_FULL": "database or disk is full"}
own = threading.local()
write_lock = threading.Lock()  # SQLite polls for its lock, so the threads of one worker wait here first
stopping = threading.Event()  # set when this process begins to stop

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
-- The results of single writes, of an earlier version.
DROP TABLE IF EXISTS clients;
CREATE TABLE IF NOT EXISTS mutation_clients (
  tenant TEXT NOT NULL, client TEXT NOT NULL, settled INTEGER NOT NULL, top INTEGER NOT NULL,
  used_at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, client)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mutations (
  tenant TEXT NOT NULL, client TEXT NOT NULL, m INTEGER NOT NULL, results TEXT,
  PRIMARY KEY (tenant, client, m)) WITHOUT ROWID;
"""


class DiskFull(Exception):
    """The space that is left is the reserve."""


def is_result(error, name):
    # Python before 3.11 has no sqlite_errorname.
    known = getattr(error, "sqlite_errorname", None)
    return known.startswith(name) if known else MESSAGES[name] in str(error)


def now_ms():
    return time.time_ns() // 1_000_000


def connect():
    db = sqlite3.connect(DATABASE_PATH, timeout=LOCK_WAIT_SECONDS, isolation_level=None)
    db.execute("PRAGMA synchronous=FULL")
    # Some systems build SQLite so that it overwrites all deleted content. A clear would then write as much as it deletes.
    db.execute("PRAGMA secure_delete=FAST")
    return db


def database():
    """This thread's connection."""
    if not hasattr(own, "db"):
        own.db = connect()
    return own.db


def forget_connection():
    """After an error: the thread's next transaction opens the file again."""
    if hasattr(own, "db"):
        own.db.close()
        del own.db


def check_room(db):
    """
    Raises DiskFull if the disk has no more room than the reserve. Called before values are stored, and not before they are
    deleted, so that deleting works on a full disk. Pages that deleting has freed count: the file does not shrink.
    """
    disk = os.statvfs(os.path.dirname(DATABASE_PATH))
    reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 8)
    room = disk.f_bavail * disk.f_frsize
    if room < reserve:
        pages, page_bytes = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
        if room + pages * page_bytes < reserve:
            raise DiskFull


@contextmanager
def transaction(db, begin="BEGIN IMMEDIATE"):
    """A transaction, by default with the write lock from its begin. It is durable after the block."""
    db.execute(begin)
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def data_version(db):
    """A number that changes after each commit of another connection, in any process."""
    return db.execute("PRAGMA data_version").fetchone()[0]


def prepare(adopt):
    """Creates missing tables and calls `adopt(db)`. Any number of workers may do this at once."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            with closing(connect()) as db:
                db.execute("PRAGMA journal_mode=WAL")  # does not wait for a lock, so this is a loop
                with transaction(db):
                    for statement in TABLES.split(";"):
                        db.execute(statement)
                    db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
                    adopt(db)
                    delete_expired(db)
                return
        except sqlite3.OperationalError as error:
            if not is_result(error, "SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def delete_expired(db):
    """Deletes tombstones, and clients with their stored results, that are older than 30 days."""
    old = (now_ms() - RETENTION_MS,)
    gone = "FROM records WHERE value IS NULL AND deleted_at_ms < ?"
    db.execute(
        "UPDATE tenants SET forgotten ="
        f" MAX(forgotten, COALESCE((SELECT MAX(rev) {gone} AND records.tenant = tenants.tenant), 0))",
        old,
    )
    db.execute(f"DELETE {gone}", old)
    silent = "FROM mutation_clients WHERE used_at_ms < ?"
    db.execute(f"DELETE FROM mutations WHERE (tenant, client) IN (SELECT tenant, client {silent})", old)
    db.execute(f"DELETE {silent}", old)


def delete_expired_daily():
    while not stopping.wait(DAY_SECONDS):
        try:
            with closing(connect()) as db, transaction(db):
                delete_expired(db)
        except sqlite3.OperationalError:
            logging.getLogger("app").exception("Could not delete expired tombstones; the next attempt is tomorrow")
