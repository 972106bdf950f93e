"""
Level 1 of the wire contract: export and import as NDJSON, in flat memory however many records there are.

Spec: docs/contract.md, 8; NDJSON (a JSON text a line); SHA-256 (FIPS 180-4) of all bytes before the last line.
"""

import re
from hashlib import sha256

from flask import Blueprint, g, request

from access import needs
from json_text import members, string, to_json
from level1 import choice, parameters, stamp
from messages import MAX_BODY_BYTES, answer, check_key, check_type, in_chunks, parse, read, refuse, shown, timestamp
from records import reading, snapshot, writing

NDJSON_TYPE = "application/x-ndjson"
FORMAT = "codeforge-storage"
MAX_LINE_BYTES = MAX_BODY_BYTES + 8 * 1024  # the largest value that a body can bring, and what surrounds it
GROUP_RECORDS = 500
GROUP_CHARACTERS = 1024 * 1024
routes = Blueprint("transfer", __name__)


@routes.get("/export")
@needs("admin")
def export():
    records = snapshot(g.tenant)
    response = answer(in_chunks(export_lines(records)), mimetype=NDJSON_TYPE)
    response.call_on_close(records.db.close)
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
        on_one_line = re.sub(r"[\r\n]", " ", value)  # strings hold none: only between tokens, where a space does as well
        yield f'{to_json({"key": key, "rev": str(rev)})[:-1]},"value":{on_one_line}}}\n'


@routes.post("/import")
@needs("admin")
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
    """Store a group in the transaction of `records`; how many of it were not skipped."""
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
    """(key, value) pairs in lists that a transaction may hold."""
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
    """(key, value) of each record in the body, which has to have its first and its last line."""
    before = sha256()
    lines = body_lines(before)
    check_header(next(lines, None))
    count = 0
    for found in lines:
        if "key" not in found and "end" in found:
            check_end(found, count, before.hexdigest())
            if next(lines, None) is not None:
                refuse(400, "There is more after the last line", "incomplete-import")
            return
        key, value = string(found.get("key", "")), found.get("value")
        if key is None or value is None:
            refuse(400, f"Record {count + 1} has no key or no value")
        check_key(key)
        count += 1
        yield key, value
    refuse(400, "The last line is missing: this is not a whole export", "incomplete-import")


def check_header(found):
    if not found or string(found.get("format", "")) != FORMAT or found.get("version") != "1":
        refuse(400, f'The first line must be {{"format":"{FORMAT}","version":1}}')


def check_end(found, count, before):
    """`before` is the SHA-256 of what came before the last line."""
    if found["end"] != "true" or found.get("count") != str(count):
        refuse(400, f"The last line does not end {count} records", "incomplete-import")
    if "sha256" in found and string(found["sha256"]) != before:
        refuse(
            400,
            f"The SHA-256 before the last line is {before}, not what that says: the export is damaged",
            "incomplete-import",
        )


def body_lines(before):
    """The members of each line's object; empty lines are none. `before` is a hash of the bytes of all earlier lines."""
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
