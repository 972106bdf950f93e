"""
The Flask server of @codeforge/storage: both levels of the wire contract over one SQLite file. This module has level 0,
and what applies to every request.

Many gunicorn workers and threads share the file. A write is answered after its transaction is durable. The text of a
value is stored and returned exactly as it was sent: it is never serialized again, so no digit or escape changes.

Run it with gunicorn (see README.md). `python app.py` starts a development server.

Spec: docs/contract.md, RFC 8259 (JSON), RFC 9110 (HTTP, §13 preconditions), RFC 3986 §2.1.
"""

import os
import re
import sqlite3
import threading
from urllib.parse import unquote_to_bytes

from flask import Flask, g, request
from flask_cors import CORS
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

import development
import level1
import messages
import transfer
from access import ORIGINS, check_access, requires
from adoption import adopt_old_table
from database import DATABASE_PATH, DiskFull, delete_expired_daily, forget_connection, is_result, prepare
from json_text import to_json
from messages import answer, check_key, failure, read_members, refuse, success
from records import reading, writing
from tokens import TOKENS

KEY_PREFIX = "/api/storage/"


class KeyConverter(BaseConverter):
    """Matches the rest of the path, for the router only: views call `addressed_key`."""

    regex = r"[\s\S]+"
    part_isolating = False


app = Flask(__name__, static_folder=None)
app.url_map.merge_slashes = False
app.url_map.converters["key"] = KeyConverter
for routes in (level1.routes, transfer.routes):
    app.register_blueprint(routes, url_prefix="/api/v1")
app.wsgi_app = messages.remember_response(app.wsgi_app)
app.before_request(check_access)
CORS(
    app,
    origins=ORIGINS,
    send_wildcard=True,
    always_send=False,
    vary_header=False,  # `finish` sets it, also for requests without Origin: a cache must not mix these answers
    methods=["GET", "PUT", "POST", "DELETE"],
    allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID"],
    expose_headers=["ETag", "Retry-After", "WWW-Authenticate"],
    max_age=7200,
)


# Every request


@app.errorhandler(messages.Refusal)
def refused(error):
    return error.response


@app.errorhandler(HTTPException)
def failed(error):
    """Errors of Flask, and unexpected ones: the name of the status, never the text of an exception."""
    allow = error.get_response().headers.get("Allow")
    return failure(error.code, error.name, headers={"Allow": allow} if allow else None)


@app.errorhandler(sqlite3.Error)
def database_failed(error):
    app.logger.error("The database failed", exc_info=error)
    if is_result(error, "SQLITE_FULL"):
        return disk_full(error)
    if is_result(error, "SQLITE_BUSY"):
        return failure(503, "The database is busy", headers=messages.RETRY)
    forget_connection()
    return failure(503, "The database failed: see the log of the server", headers=messages.RETRY)


@app.errorhandler(DiskFull)
def disk_full(_):
    return failure(507, "The disk is full")


@app.after_request
def finish(response):
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    if ORIGINS != "*":
        response.vary.add("Origin")
    if request.method == "OPTIONS" and response.status_code == 200:
        response.status_code = 204
    if response.status_code in (204, 304):
        response.headers.pop("Content-Type", None)
    if response.status_code >= 400 and messages.has_unread_body():
        messages.end_connection()
    messages.compress(response)
    return response


@app.get("/health")
def health():
    state = {"status": "ok", "timestamp": messages.timestamp(), "contract": 1}
    if g.tenant is not None:
        with reading(g.tenant) as records:
            state.update(epoch=records.epoch, seq=records.seq)
    state["capabilities"] = level1.CAPABILITIES + (["auth"] if TOKENS.required else [])
    state["limits"] = level1.LIMITS
    return answer(to_json(state))


# Level 0. `keys`, `export` and `stats` are routes for GET, `clear` and `import` for POST. With any other method these
# names are ordinary keys. /api/storage itself is not a route: old clients send DELETE there by mistake.


def addressed_key():
    """Everything after the prefix in the raw URI, unescaped once. A router would change `//` and `%2F`."""
    path = re.sub(r"^https?://[^/?]*", "", request.environ["RAW_URI"], flags=re.IGNORECASE).split("?", 1)[0]
    if not path.startswith(KEY_PREFIX):
        refuse(404, "Not Found")
    escaped = path[len(KEY_PREFIX) :]
    if re.search(r"%(?![0-9A-Fa-f]{2})", escaped):
        refuse(400, "Malformed percent-escape in the key")
    try:
        return unquote_to_bytes(escaped.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        refuse(400, "The key is not UTF-8")


def precondition(tag):
    """The status that the preconditions demand (RFC 9110 §13.2.2), or None. `tag`: the entry's tag, or None."""
    if "If-Match" in request.headers and not (tag and names("If-Match", tag)):
        return 412
    if "If-None-Match" in request.headers and tag and names("If-None-Match", tag, weakly=True):
        return 304 if request.method in ("GET", "HEAD") else 412
    return None


def names(header, tag, weakly=False):
    """Whether the header lists this tag or is `*`. Tags of this server contain no comma, so the list is split there."""
    listed = [name.strip() for name in request.headers[header].split(",")]
    return listed == ["*"] or f'"{tag}"' in listed or (weakly and f'W/"{tag}"' in listed)


def find_tagged(records, key):
    """The record of a key and its tag; both are None for a missing key."""
    record = records.find(key)
    return record, record and records.tag(record.rev)


def tagged(tag):
    return {"ETag": f'"{tag}"'} if tag else {}


@app.get("/api/storage/keys")
@requires("read")
def keys():
    with reading(g.tenant) as records:
        return answer(to_json({"keys": [key for key, _, _ in records.keys()]}))


@app.get("/api/storage/<key:_>")
@requires("read")
def read(_):
    with reading(g.tenant) as records:
        record, tag = find_tagged(records, addressed_key())
    headers = {**tagged(tag), "Cache-Control": "no-cache, private"}
    if record is None:
        return failure(404, "Key not found", headers=headers)
    status = precondition(tag)
    if status == 412:
        return failure(412, "Precondition failed", headers=headers)
    return answer("" if status == 304 else f'{{"value":{record.value}}}', status or 200, headers)


@app.put("/api/storage/<key:_>")
@app.post("/api/storage/<key:_>")  # old clients
@requires("write")
def write(_):
    key = addressed_key()
    check_key(key)
    value = (read_members() or {}).get("value")
    if value is None:
        refuse(400, "Missing value field")
    with writing(g.tenant) as records:
        _, tag = find_tagged(records, key)
        if precondition(tag):
            return failure(412, "Precondition failed", headers=tagged(tag))
        tag = records.tag(records.put(key, value))
    return success(tagged(tag))


@app.delete("/api/storage/<key:_>")
@requires("write")
def delete(_):
    key = addressed_key()
    with writing(g.tenant, stores=False) as records:
        record, tag = find_tagged(records, key)
        if record is None:
            return failure(404, "Key not found")
        if precondition(tag):
            return failure(412, "Precondition failed", headers=tagged(tag))
        records.delete(key)
    return success()


@app.post("/api/storage/clear")
@requires("admin")
def clear():
    with writing(g.tenant, stores=False) as records:
        records.clear()
    return success()


@app.post("/api/storage/import")
@requires("admin")
def import_all():
    entries = read_members()
    if entries is None:
        refuse(400, "Data must be an object")
    for key in entries:
        check_key(key)
    with writing(g.tenant) as records:
        for key, value in entries.items():
            records.put(key, value)
    return answer(to_json({"success": True, "imported": len(entries)}))


@app.get("/api/storage/export")
@requires("admin")
def export():
    return transfer.stream_state(export_texts)


def export_texts(records):
    """Yields the pieces of one JSON object."""
    separator = "{"
    for key, _, value in records.all():
        yield f"{separator}{to_json(key)}:{value}"
        separator = ","
    yield "{}" if separator == "{" else "}"


@app.get("/api/storage/stats")
@requires("read")
def stats():
    with reading(g.tenant) as records:
        count, size = records.measure()
    name = os.path.basename(DATABASE_PATH)
    return answer(to_json({"total_keys": count, "total_size_bytes": size, "database_path": name}))


prepare(adopt_old_table)
threading.Thread(target=delete_expired_daily, daemon=True).start()

if __name__ == "__main__":
    development.serve(app)
