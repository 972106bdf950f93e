"""
Level 1: export and import as NDJSON, with constant memory for any number of records.

Spec: docs/contract.md, 8; NDJSON (a JSON text a line); SHA-256 (FIPS 180-4) of all bytes before the last line.
"""

import re
import sqlite3
import threading
from hashlib import sha256

from flask import Blueprint, g, request

from access import requires
from connection import TOO_MANY_REQUESTS
from json_text import members, string, to_json
from level1 import choice, parameters, stamp
from messages import (
    MAX_BODY_BYTES,
    RETRY,
    answer,
    check_key,
    check_type,
    in_chunks,
    parse,
    read,
    refuse,
    shown,
    timestamp,
)
from records import reading, snapshot, writing

NDJSON_TYPE = "application/x-ndjson"
FORMAT = "codeforge-storage"
MAX_LINE_BYTES = MAX_BODY_BYTES + 8 * 1024  # the largest value of a body, and the text around it
GROUP_RECORDS = 500
GROUP_CHARACTERS = 1024 * 1024
MAX_EXPORTS = 8  # few of a worker's threads (gunicorn.conf.py): each is occupied until its caller has read the export
export_slots = threading.BoundedSemaphore(MAX_EXPORTS)
routes = Blueprint("transfer", __name__)


@routes.get("/export")
@requires("admin")
def export():
    return stream_state(export_lines, NDJSON_TYPE)


def stream_state(texts, mimetype="application/json"):
    """The answer that consists of `texts(records)`, of one state of the data. It may be read slowly."""
    if not export_slots.acquire(blocking=False):
        refuse(503, TOO_MANY_REQUESTS, headers=RETRY)
    try:
        records = snapshot(g.tenant)
    except sqlite3.Error:
        export_slots.release()
        raise
    response = answer(in_chunks(texts(records)), mimetype=mimetype)
    response.call_on_close(records.db.close)
    response.call_on_close(export_slots.release)
    return response


def export_lines(records):
    digest = sha256()
    count = 0
    for count, line in enumerate(header_and_records(records)):  # the header is number 0
        digest.update(line.encode())
        yield line
    yield to_json({"end": True, "count": count, "sha256": digest.hexdigest()}) + "\n"


def header_and_records(records):
    yield to_json({"format": FORMAT, "version": 1, **stamp(records), "timestamp": timestamp()}) + "\n"
    for key, rev, value in records.all():
        on_one_line = re.sub(r"[\r\n]", " ", value)  # line breaks are between tokens only, where a space means the same
        yield f'{to_json({"key": key, "rev": str(rev)})[:-1]},"value":{on_one_line}}}\n'


@routes.post("/import")
@requires("admin")
def import_records():
    query = parameters()
    mode = choice(query, "mode", ["overwrite", "skip", "fail"])
    dry_run = choice(query, "dry_run", ["0", "1"]) == "1"
    check_type(NDJSON_TYPE)
    transaction = reading if dry_run else writing
    imported = skipped = 0
    g.error_members = {"imported": 0}
    for group in groups(body_records()):
        with transaction(g.tenant) as records:
            new = store(records, group, mode, dry_run)
        imported += new
        skipped += len(group) - new
        g.error_members = {"imported": imported}
    g.body_read = True
    with reading(g.tenant) as records:
        counts = {"imported": imported, "skipped": skipped, "dryRun": dry_run}
        return answer(to_json({**counts, **stamp(records)}))


def store(records, group, mode, dry_run):
    """Stores a group in the transaction of `records`. Returns the number of records that were not skipped."""
    new = 0
    for key, value in group:
        exists = mode != "overwrite" and records.rev(key) is not None
        if exists and mode == "fail":
            g.error_members["key"] = key
            refuse(412, f"The key {shown(key)} exists", "key-exists")
        if not exists:
            new += 1
            if not dry_run:
                records.put(key, value)
    return new


def groups(pairs):
    """Yields lists of (key, value) pairs for one transaction each."""
    group, size = [], 0
    for pair in pairs:
        group.append(pair)
        size += len(pair[1])
        if len(group) == GROUP_RECORDS or size >= GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def body_records():
    """Yields (key, value) of each record in the body. Refuses a body without the first or the last line."""
    before = sha256()
    lines = body_lines(before)
    check_header(next(lines, None))
    count = 0
    for found in lines:
        if "key" not in found and "end" in found:
            check_end(found, count, before.hexdigest())
            if next(lines, None) is not None:
                refuse(400, "The body has lines after the last line of the export", "incomplete-import")
            return
        key, value = string(found.get("key", "")), found.get("value")
        if key is None or value is None:
            refuse(400, f"Record {count + 1} has no key or no value")
        check_key(key)
        count += 1
        yield key, value
    refuse(400, "The last line of the export is missing: the export is incomplete", "incomplete-import")


def check_header(found):
    if not found or string(found.get("format", "")) != FORMAT or found.get("version") != "1":
        refuse(400, f'The first line must be {{"format":"{FORMAT}","version":1}}')


def check_end(found, count, before):
    """`before`: the SHA-256 of all bytes before the last line."""
    if found["end"] != "true" or found.get("count") != str(count):
        refuse(400, f"The last line has another count than the {count} records before it", "incomplete-import")
    if "sha256" in found and string(found["sha256"]) != before:
        refuse(
            400,
            f"The SHA-256 in the last line is wrong (expected {before}): the export is damaged",
            "incomplete-import",
        )


def body_lines(before):
    """Yields the members of each line's object, except empty lines. `before` hashes all earlier lines."""
    while True:
        line = read(lambda: request.stream.readline(MAX_LINE_BYTES + 2))
        if not line:
            return
        text = line.rstrip(b"\r\n")
        if len(text) > MAX_LINE_BYTES:
            refuse(413, f"A line is over the limit of {MAX_LINE_BYTES} bytes")
        if text.strip():
            found = parse(members, text)
            if found is None:
                refuse(400, "A line must be an object")
            yield found
        before.update(line)
