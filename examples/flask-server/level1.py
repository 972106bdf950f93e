"""
Level 1: batches, keys, counts and changes.

Spec: docs/contract.md, 5 to 7.
"""

import re
import threading
import time
from urllib.parse import parse_qsl

from flask import Blueprint, g, request

import batch as batches
from access import account_of, check_scope, is_still_allowed, requires
from database import data_version, database, stopping
from json_text import to_json
from messages import MAX_ANSWER_BYTES, MAX_BODY_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, answer, parse, read_body, refuse
from records import reading, writing

CAPABILITIES = ["batch", "etag", "keys", "changes", "ndjson", "checksum"]
LIMITS = {
    "keyBytes": MAX_KEY_BYTES,
    "valueBytes": MAX_VALUE_BYTES,
    "batchOps": batches.MAX_OPERATIONS,
    "bodyBytes": MAX_BODY_BYTES,
    "answerBytes": MAX_ANSWER_BYTES,
}
POLL_SECONDS = 0.1
MAX_WAITING = 8  # few of a worker's threads (gunicorn.conf.py); a further request is answered immediately
waiting_slots = threading.BoundedSemaphore(MAX_WAITING)
routes = Blueprint("level1", __name__)


# Parameters


def parameters():
    """The parameters of the URL. The last of equal names counts."""
    try:
        text = request.environ["QUERY_STRING"].encode("latin-1").decode("utf-8")
        if re.search(r"%(?![0-9A-Fa-f]{2})", text):
            raise ValueError("malformed percent-escape")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except ValueError:
        refuse(400, "Malformed percent-escape in the query")


def integer(query, name, default, least, most):
    text = query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        refuse(400, f"{name} must be a whole number from {least} to {most}")
    return int(text)


def choice(query, name, choices):
    """The first choice is the default."""
    text = query.get(name, choices[0])
    if text not in choices:
        refuse(400, f"{name} must be one of {', '.join(choices)}")
    return text


def stamp(records):
    """The state of the data that an answer describes."""
    return {"epoch": records.epoch, "seq": records.seq}


# Routes


@routes.post("/batch")
def batch():
    asked = parse(batches.read_batch, read_body(), around=3)
    account = account_of(g.tenant)
    if asked.account not in (None, account):
        refuse(409, "The batch is for the data of another account", "other-account")
    needs_writing = batches.needs_writing(asked)
    check_scope("write" if needs_writing else "read")
    for operation in asked.operations:
        check_scope(batches.REQUIRED_SCOPES[operation.op])
    stores = batches.stores_values(asked)
    with writing(g.tenant, stores) if needs_writing else reading(g.tenant) as records:
        results, top, void = batches.run_batch(records, asked)
    state = {"account": account, "top": top, "void": void or None}
    known = {name: member for name, member in state.items() if member is not None}
    texts = ",".join(map(batches.result_text, results))
    return answer(f'{to_json({**stamp(records), **known})[:-1]},"results":[{texts}]}}')


@routes.get("/keys")
@requires("read")
def keys():
    query = parameters()
    limit = integer(query, "limit", 1000, 1, 10_000)
    with reading(g.tenant) as records:
        rows = list(records.keys(query.get("prefix", ""), query.get("after", ""), limit + 1))
    page = [{"key": key, "rev": str(rev), "size": size} for key, rev, size in rows[:limit]]
    return answer(to_json({"keys": page, "next": page[-1]["key"] if len(rows) > limit else None, **stamp(records)}))


@routes.get("/stats")
@requires("read")
def stats():
    with reading(g.tenant) as records:
        count, size = records.measure()
    return answer(to_json({"keys": count, "sizeBytes": size, **stamp(records)}))


@routes.get("/changes")
@requires("read")
def changes():
    query = parameters()
    limit = integer(query, "limit", 500, 1, 1000)
    deadline = time.monotonic() + integer(query, "wait", 0, 0, 60)
    epoch, since = read_cursor(query.get("since"))
    version = data_version(database())  # before reading, so that a later commit is noticed
    texts, text = read_changes(epoch, since, limit)
    if texts or time.monotonic() >= deadline or not waiting_slots.acquire(blocking=False):
        return answer(text)
    try:
        while not texts and commit_after(version, deadline):
            version = data_version(database())
            texts, text = read_changes(epoch, since, limit)
    finally:
        waiting_slots.release()
    return answer(text)


def read_cursor(text):
    """(epoch, seq). The epoch is None without a cursor."""
    if text is None:
        return None, 0
    match = re.fullmatch(r"(.+)\.([0-9]{1,30})", text)
    if not match:
        refuse(400, "since must be <epoch>.<seq>")
    return match[1], int(match[2])


def read_changes(epoch, since, limit):
    """The changes after the cursor as texts, and the answer that contains them."""
    with reading(g.tenant) as records:
        if epoch not in (None, records.epoch) or since > records.seq:
            refuse(409, "The data is of another epoch: list everything again", "epoch-changed")
        if 0 < since < records.forgotten:
            refuse(410, "The cursor is older than the tombstones: list everything again", "cursor-gone")
        texts, size, more = [], 0, False
        for change in records.changes(since):
            size += len((change.value or "").encode())
            more = len(texts) == limit or (len(texts) > 0 and size > MAX_ANSWER_BYTES)
            if more:
                break
            texts.append(change_text(change))
            last = change.rev
    end = to_json({"next": records.tag(last if more else records.seq), "more": more})
    return texts, f'{to_json(stamp(records))[:-1]},"changes":[{",".join(texts)}],{end[1:]}'


def change_text(change):
    key = {} if change.key is None else {"key": change.key}
    text = to_json({"type": change.type, **key, "rev": str(change.rev)})
    return text if change.value is None else f'{text[:-1]},"value":{change.value}}}'


def commit_after(version, deadline):
    """Whether a commit came before the deadline. False also when the caller disconnects or the process stops."""
    while time.monotonic() < deadline and not caller_is_gone() and is_still_allowed():
        if stopping.wait(POLL_SECONDS):
            return False
        if data_version(database()) != version:
            return True
    return False


def caller_is_gone():
    connection = request.environ.get("gunicorn.socket")
    return connection is not None and connection.peer_is_gone()
