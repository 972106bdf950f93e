"""
Flask server of @codeforge/storage: level 0 of the wire contract over one SQLite file.

Many gunicorn workers and threads stand over that file. A write is answered when its transaction is durable (WAL,
synchronous=FULL), and takes the write lock before it reads, so no two writers decide on the same state. The text
of a value is stored as it came and spliced into answers: never printed anew, so no digit or escape can change.

Spec: docs/contract.md (level 0), RFC 8259 (JSON), RFC 9110 (HTTP, §13 preconditions), RFC 3986 §2.1.
"""

import json
import os
import re
import sqlite3
import time
from datetime import datetime, timezone
from urllib.parse import unquote_to_bytes

from flask import Flask, Response, abort, g, request
from flask_cors import CORS
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from database import DATABASE_PATH, TAG, advance, connect, current_tag, database, is_result, prepare, store, writing
from json_text import MAX_NESTING, members, nesting

HOST = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
MAX_BODY_BYTES = int(os.environ.get("MAX_BODY_BYTES") or 8 * 1024 * 1024)
MAX_KEY_BYTES = 1024
EXPORT_CHUNK_CHARACTERS = 64 * 1024
DISCARD_SECONDS = 5
KEY_PREFIX = "/api/storage/"
SUCCESS = '{"success":true}'

LOOPBACK = r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])"
LISTENS_ON_LOOPBACK = HOST == "::1" or re.fullmatch(LOOPBACK, HOST) is not None


def allowed_origins(listed):
    """ALLOWED_ORIGINS as `*` or one pattern; compiled, for flask-cors would take the text `[::1]` for a pattern."""
    origins = [origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()]
    if "*" in origins:
        return "*"
    named = "|".join(map(re.escape, origins)) or rf"https?://{LOOPBACK}(?::\d+)?"
    return re.compile(rf"(?:{named})\Z", re.IGNORECASE)


class KeyConverter(BaseConverter):
    """All that is left of the path. Only the router uses it: the views ask `addressed_key`."""

    regex = r"[\s\S]+"
    part_isolating = False


ORIGINS = allowed_origins(os.environ.get("ALLOWED_ORIGINS") or "")
app = Flask(__name__, static_folder=None)
app.url_map.merge_slashes = False
app.url_map.converters["key"] = KeyConverter
CORS(
    app,
    origins=ORIGINS,
    send_wildcard=True,
    always_send=False,
    vary_header=False,  # `finish` sets it, also on answers to requests without Origin: caches mix the two up
    methods=["GET", "PUT", "POST", "DELETE"],
    allow_headers=["Content-Type", "If-Match", "If-None-Match"],
    expose_headers=["ETag", "Retry-After"],
    max_age=7200,
)


# Answers


def to_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(text, status=200, headers=None):
    return Response(text, status, headers, mimetype="application/json")


def failure(message, status, headers=None):
    return answer(to_json({"error": message}), status, headers)


def tagged(tag):
    return {"ETag": f'"{tag}"'} if tag else {}


@app.errorhandler(HTTPException)
def refused(error):
    """Every error is JSON: our own words, or the name of the status; never the text of an exception."""
    response = error.get_response()  # has the Allow of a 405
    ours = error.code < 500 and error.description != type(error).description
    response.data = to_json({"error": error.description if ours else error.name})
    response.content_type = "application/json"
    return response


@app.errorhandler(sqlite3.OperationalError)
def database_failed(error):
    app.logger.error("The database failed", exc_info=error)
    if is_result(error, "SQLITE_BUSY"):
        return failure("The database is busy", 503, {"Retry-After": "1"})
    if is_result(error, "SQLITE_FULL"):
        return failure("The disk is full", 507)
    return failure("Internal Server Error", 500)


@app.after_request
def finish(response):
    response.headers["X-Content-Type-Options"] = "nosniff"
    if ORIGINS != "*":
        response.vary.add("Origin")
    if request.method == "OPTIONS" and response.status_code == 200:
        response.status_code = 204
    if response.status_code in (204, 304):
        response.headers.pop("Content-Type", None)
    if response.status_code >= 400 and has_unread_body():
        environ = request.environ
        # Or the caller's next request would come on this connection while its last body is being discarded.
        if environ["gunicorn.response"]:
            environ["gunicorn.response"].force_close()
        response.call_on_close(lambda: discard_body(environ))
    return response


def has_unread_body():
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    return has_body and not g.get("body_read")


def remember_response(serve):
    """Keeps gunicorn's response within reach: it alone can end the connection."""

    def serve_remembered(environ, start_response):
        environ["gunicorn.response"] = getattr(start_response, "__self__", None)
        return serve(environ, start_response)

    return serve_remembered


app.wsgi_app = remember_response(app.wsgi_app)


def discard_body(environ):
    """After a refusal, read what the caller still sends: a socket closed before that resets and loses the answer."""
    socket = environ.get("gunicorn.socket")
    if not socket:
        return
    deadline = time.monotonic() + DISCARD_SECONDS
    try:
        socket.settimeout(DISCARD_SECONDS)
        while time.monotonic() < deadline and environ["wsgi.input"].read(64 * 1024):
            pass
    except OSError:
        pass  # gone, or silent: gunicorn closes it


# Requests


@app.before_request
def refuse_foreign_callers():
    """No page elsewhere may write here, nor reach a loopback server by a name of its own (DNS rebinding)."""
    host = request.environ.get("HTTP_HOST", "")
    if LISTENS_ON_LOOPBACK and not re.fullmatch(rf"{LOOPBACK}(?::\d*)?", host, re.IGNORECASE):
        abort(403, "Host not allowed")
    origin = request.headers.get("Origin")
    foreign = origin is not None and ORIGINS != "*" and not ORIGINS.match(origin)
    if foreign and request.method not in ("GET", "HEAD", "OPTIONS"):
        abort(403, "Origin not allowed")


def addressed_key():
    """What follows the prefix in the raw URI, unescaped once: no router's idea of `//` or `%2F` comes between."""
    path = re.sub(r"^https?://[^/?]*", "", request.environ["RAW_URI"], flags=re.IGNORECASE).split("?", 1)[0]
    if not path.startswith(KEY_PREFIX):
        abort(404)
    escaped = path[len(KEY_PREFIX) :]
    if re.search(r"%(?![0-9A-Fa-f]{2})", escaped):
        abort(400, "Malformed percent-escape in the key")
    try:
        return unquote_to_bytes(escaped.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        abort(400, "The key is not UTF-8")


def check_key(key):
    size = len(key.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_KEY_BYTES or re.search("[\0\ud800-\udfff]", key):
        shown = json.dumps(key if len(key) <= 80 else key[:80] + "…")
        abort(400, f"Invalid key {shown}: 1 to {MAX_KEY_BYTES} bytes of well-formed UTF-8 without U+0000")


def precondition(tag):
    """The status that the request's preconditions ask for (RFC 9110 §13.2.2), or None. `tag`: the entry's, if any."""
    if "If-Match" in request.headers and not (tag and names("If-Match", tag)):
        return 412
    if "If-None-Match" in request.headers and tag and names("If-None-Match", tag, weakly=True):
        return 304 if request.method in ("GET", "HEAD") else 412
    return None


def names(header, tag, weakly=False):
    """Whether the header lists this tag, or is `*`. Our tags hold no comma, so the list may be split there."""
    listed = [name.strip() for name in request.headers[header].split(",")]
    return listed == ["*"] or f'"{tag}"' in listed or (weakly and f'W/"{tag}"' in listed)


def read_body():
    if request.mimetype != "application/json":
        abort(415, "Content-Type must be application/json")
    length = request.content_length or 0  # 0 for a chunked body too
    try:
        body = b"" if length > MAX_BODY_BYTES else request.stream.read(MAX_BODY_BYTES + 1)
    except OSError:
        abort(400, "The body is malformed")
    if max(length, len(body)) > MAX_BODY_BYTES:
        abort(413, f"The body is over the limit of {MAX_BODY_BYTES} bytes")
    if len(body) < length:  # the caller left; half a body may look like a whole one
        abort(400, "The body ended early")
    g.body_read = True
    return body


def read_members():
    """The JSON object in the body, as `members` gives it."""
    try:
        text = read_body().decode("utf-8")
        if nesting(text) > MAX_NESTING + 1:  # + 1: the body itself
            abort(400, f"A value may nest {MAX_NESTING} levels at most")
        return members(text)
    except (ValueError, RecursionError):
        abort(400, "Malformed JSON")


# Routes. `keys`, `export` and `stats` are routes of GET, `clear` and `import` of POST; with any other method they are
# keys like all others. /api/storage itself is none: an old client that sends DELETE there by mistake wipes nothing.


@app.get("/health")
def health():
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return answer(to_json({"status": "ok", "timestamp": now}))


@app.get("/api/storage/keys")
def keys():
    rows = database().execute("SELECT key FROM entries ORDER BY key").fetchall()
    return answer(to_json({"keys": [key for (key,) in rows]}))


@app.get("/api/storage/<key:_>")
def read(_):
    row = database().execute(f"SELECT value, {TAG} FROM entries WHERE key = ?", (addressed_key(),)).fetchone()
    if row is None:
        return failure("Key not found", 404)
    value, tag = row
    headers = {**tagged(tag), "Cache-Control": "no-cache, private"}
    status = precondition(tag)
    if status == 412:
        return failure("Precondition failed", 412, headers)
    return answer("" if status == 304 else f'{{"value":{value}}}', status or 200, headers)


@app.put("/api/storage/<key:_>")
@app.post("/api/storage/<key:_>")  # old clients
def write(_):
    key = addressed_key()
    check_key(key)
    value = (read_members() or {}).get("value")
    if value is None:
        abort(400, "Missing value field")
    with writing() as db:
        tag = current_tag(db, key)
        if precondition(tag):
            return failure("Precondition failed", 412, tagged(tag))
        store(db, {key: value})
        tag = current_tag(db, key)
    return answer(SUCCESS, headers=tagged(tag))


@app.delete("/api/storage/<key:_>")
def delete(_):
    key = addressed_key()
    with writing() as db:
        tag = current_tag(db, key)
        if tag is None:
            return failure("Key not found", 404)
        if precondition(tag):
            return failure("Precondition failed", 412, tagged(tag))
        advance(db)
        db.execute("DELETE FROM entries WHERE key = ?", (key,))
    return answer(SUCCESS)


@app.post("/api/storage/clear")
def clear():
    with writing() as db:
        advance(db)
        db.execute("DELETE FROM entries")
    return answer(SUCCESS)


@app.post("/api/storage/import")
def import_all():
    entries = read_members()
    if entries is None:
        abort(400, "Data must be an object")
    for key in entries:
        check_key(key)
    with writing() as db:
        store(db, entries)
    return answer(to_json({"success": True, "imported": len(entries)}))


@app.get("/api/storage/export")
def export():
    db = connect()  # its own, for it reads as long as the caller does
    rows = db.execute("SELECT key, value FROM entries ORDER BY key")
    response = answer(export_text(rows))
    response.call_on_close(db.close)
    return response


def export_text(rows):
    """The bare object in chunks; one statement is one read transaction, so all of it is one state of the data."""
    chunk, separator = "{", ""
    for key, value in rows:
        chunk += f"{separator}{to_json(key)}:{value}"
        separator = ","
        if len(chunk) >= EXPORT_CHUNK_CHARACTERS:
            yield chunk
            chunk = ""
    yield chunk + "}"


@app.get("/api/storage/stats")
def stats():
    measure = "SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(value AS BLOB))), 0) FROM entries"
    count, size = database().execute(measure).fetchone()
    name = os.path.basename(DATABASE_PATH)
    return answer(to_json({"total_keys": count, "total_size_bytes": size, "database_path": name}))


prepare()
