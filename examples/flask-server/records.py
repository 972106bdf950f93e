"""
The records of one tenant inside a transaction: every SQL statement about them.

A key may be any text. A key with lone surrogates is never found.
"""

import json
import re
from collections import namedtuple
from contextlib import contextmanager

from database import check_room, connect, database, now_ms, transaction, write_lock

ANONYMOUS_TENANT = "default"
SURROGATE = re.compile("[\ud800-\udfff]")

Record = namedtuple("Record", "value rev")
Change = namedtuple("Change", "type key rev value")
VOID = object()  # a mutation that its client gave up
IS_ENTRY = "tenant = :tenant AND value IS NOT NULL AND rev > :cleared"  # not deleted, and not cleared
SETTLED_ROWS = 8  # a client has fewer rows of settled mutations than this: they are deleted in bulk


class Records:
    """
    Each change increments `seq`; `save` writes it. Keys are in the order of their UTF-8 bytes, in which SQLite compares
    texts.
    """

    def __init__(self, db, tenant):
        self.db = db
        self.tenant = tenant
        self.epoch = db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0]
        counts = db.execute("SELECT seq, cleared, forgotten FROM tenants WHERE tenant = ?", (tenant,)).fetchone()
        self.counts = self.seq, self.cleared, self.forgotten = counts or (0, 0, 0)

    def save(self):
        if self.counts == (self.seq, self.cleared, self.forgotten):
            return
        self.db.execute(
            "INSERT INTO tenants (tenant, seq, cleared, forgotten) VALUES (?, ?, ?, ?) ON CONFLICT (tenant)"
            " DO UPDATE SET seq = excluded.seq, cleared = excluded.cleared, forgotten = excluded.forgotten",
            (self.tenant, self.seq, self.cleared, self.forgotten),
        )

    @property
    def bounds(self):
        """The parameters of IS_ENTRY."""
        return {"tenant": self.tenant, "cleared": self.cleared}

    def tag(self, rev):
        return f"{self.epoch}.{rev}"

    def find(self, key):
        if SURROGATE.search(key):
            return None
        row = self.db.execute(
            f"SELECT value, rev FROM records WHERE {IS_ENTRY} AND key = :key", {**self.bounds, "key": key}
        ).fetchone()
        return row and Record(*row)

    def rev(self, key):
        return self.column("rev", key)

    def size(self, key):
        """Bytes of the value."""
        return self.column("LENGTH(CAST(value AS BLOB))", key)

    def column(self, expression, key):
        """The value of an SQL expression for the key's row; None for a missing key."""
        if SURROGATE.search(key):
            return None
        row = self.db.execute(
            f"SELECT {expression} FROM records WHERE {IS_ENTRY} AND key = :key", {**self.bounds, "key": key}
        ).fetchone()
        return row and row[0]

    def put(self, key, value):
        """Returns the new revision, as `delete` and `clear` do."""
        self.seq += 1
        self.db.execute(
            "INSERT INTO records (tenant, key, value, rev) VALUES (?, ?, ?, ?) ON CONFLICT (tenant, key)"
            " DO UPDATE SET value = excluded.value, rev = excluded.rev, deleted_at_ms = NULL",
            (self.tenant, key, value, self.seq),
        )
        return self.seq

    def delete(self, key):
        self.seq += 1
        self.db.execute(
            "UPDATE records SET value = NULL, rev = ?, deleted_at_ms = ? WHERE tenant = ? AND key = ?",
            (self.seq, now_ms(), self.tenant, key),
        )
        return self.seq

    def clear(self):
        """Deletes tombstones too: the clear replaces them."""
        self.seq += 1
        if self.is_alone():
            self.db.execute("DELETE FROM records")  # SQLite does this without reading the rows, and writes little
        else:
            self.db.execute("DELETE FROM records WHERE tenant = ?", (self.tenant,))
        self.cleared, self.forgotten = self.seq, 0
        return self.seq

    def is_alone(self):
        others = "SELECT 1 FROM records WHERE tenant < :tenant UNION ALL SELECT 1 FROM records WHERE tenant > :tenant"
        return self.db.execute(f"{others} LIMIT 1", {"tenant": self.tenant}).fetchone() is None

    def savepoint(self):
        """Returns a function that undoes all later changes."""
        before = self.seq, self.cleared, self.forgotten
        self.db.execute("SAVEPOINT attempt")

        def undo():
            self.db.execute("ROLLBACK TO attempt")
            self.seq, self.cleared, self.forgotten = before

        return undo

    def keys(self, prefix="", after="", limit=-1):
        """Yields (key, rev, size) in order."""
        rows = self.db.execute(
            # The first bound uses the index, the second only filters.
            "SELECT key, rev, LENGTH(CAST(value AS BLOB)) FROM records"
            f" WHERE {IS_ENTRY} AND key >= MAX(:prefix, :after) AND key > :after ORDER BY key LIMIT :limit",
            {**self.bounds, "prefix": prefix, "after": after, "limit": limit},
        )
        for row in rows:
            if not row[0].startswith(prefix):
                return
            yield row

    def all(self):
        """Yields (key, rev, value) in order, as they are read."""
        return self.db.execute(f"SELECT key, rev, value FROM records WHERE {IS_ENTRY} ORDER BY key", self.bounds)

    def measure(self):
        """(number of keys, bytes of values)"""
        return self.db.execute(
            f"SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(value AS BLOB))), 0) FROM records WHERE {IS_ENTRY}",
            self.bounds,
        ).fetchone()

    def changes(self, after):
        """Yields the last change of each key after this sequence number, in order, as they are read."""
        if after < self.cleared:
            yield Change("clear", None, self.cleared, None)
        rows = self.db.execute(
            "SELECT key, rev, value FROM records WHERE tenant = ? AND rev > ? ORDER BY rev",
            (self.tenant, max(after, self.cleared)),
        )
        for key, rev, value in rows:
            yield Change("delete" if value is None else "put", key, rev, value)

    def client(self, client):
        """(settled, top); both are 0 for an unknown client."""
        row = self.db.execute(
            "SELECT settled, top FROM mutation_clients WHERE tenant = ? AND client = ?", (self.tenant, client)
        ).fetchone()
        return row or (0, 0)

    def use_client(self, client, settled, m):
        """Stores that the client has sent mutation `m`, and has settled those up to `settled`."""
        before, top = self.client(client)
        settled = max(before, settled)
        if settled // SETTLED_ROWS > before // SETTLED_ROWS:
            self.db.execute(
                "DELETE FROM mutations WHERE tenant = ? AND client = ? AND m <= ?", (self.tenant, client, settled)
            )
        self.db.execute(
            "INSERT OR REPLACE INTO mutation_clients (tenant, client, settled, top, used_at_ms) VALUES (?, ?, ?, ?, ?)",
            (self.tenant, client, settled, max(top, m), now_ms()),
        )

    def mutation(self, client, m):
        """The results of its writes without values, VOID, or None if the mutation is unknown."""
        row = self.db.execute(
            "SELECT results FROM mutations WHERE tenant = ? AND client = ? AND m = ?", (self.tenant, client, m)
        ).fetchone()
        return row and (VOID if row[0] is None else json.loads(row[0]))

    def save_mutation(self, client, m, mutation):
        self.db.execute(
            "INSERT OR REPLACE INTO mutations (tenant, client, m, results) VALUES (?, ?, ?, ?)",
            (self.tenant, client, m, None if mutation is VOID else json.dumps(mutation)),
        )


@contextmanager
def writing(tenant, stores=True):
    """The tenant's records in a write transaction. It is durable after the block. `stores`: whether it may store values."""
    with write_lock, transaction(database()) as db:
        if stores:
            check_room(db)
        records = Records(db, tenant)
        yield records
        records.save()


@contextmanager
def reading(tenant):
    """One state of the tenant's records. It blocks no other transaction."""
    with transaction(database(), "BEGIN") as db:
        yield Records(db, tenant)


def snapshot(tenant):
    """One state of the tenant's records on a separate connection, until its `db` is closed. It may be read slowly."""
    db = connect()
    db.execute("BEGIN")
    return Records(db, tenant)
