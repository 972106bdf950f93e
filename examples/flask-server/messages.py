"""
HTTP messages: reading request bodies, and making answers and error answers.

No answer contains the text of an exception. An error has the members of RFC 9457 and the `error` that clients of
level 0 read.

Spec: docs/contract.md (1 and 9), RFC 9110, RFC 9457.
"""

import json
import os
import re
import zlib
from datetime import datetime, timezone
from http import HTTPStatus

from flask import Response, g, request
from gunicorn.http.errors import ParseException

from connection import Unavailable
from json_text import MAX_NESTING, members, nesting, to_json

MAX_BODY_BYTES = int(os.environ.get("MAX_BODY_BYTES") or 8 * 1024 * 1024)
MAX_VALUE_BYTES = max(MAX_BODY_BYTES - 8 * 1024, MAX_BODY_BYTES // 2)  # the rest is for the text around a value
MAX_ANSWER_BYTES = MAX_BODY_BYTES
MAX_KEY_BYTES = 1024
MIN_COMPRESSED_BYTES = 16 * 1024
CHUNK_CHARACTERS = 64 * 1024
PROBLEM_TYPE = "application/problem+json"
RETRY = {"Retry-After": "1"}


# Answers


def answer(text, status=200, headers=None, mimetype="application/json"):
    """`text` may be an iterator. It is then sent while it is made."""
    return Response(text, status, headers, mimetype=mimetype)


def success(headers=None):
    return answer('{"success":true}', headers=headers)


def timestamp():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_chunks(texts):
    chunk = ""
    for text in texts:
        chunk += text
        if len(chunk) >= CHUNK_CHARACTERS:
            yield chunk
            chunk = ""
    yield chunk


def problem_type(name):
    return f"urn:codeforge-storage:{name}" if name else "about:blank"


def failure(status, error, name=None, headers=None):
    """An error answer. `name` is the problem's name: see docs/contract.md, 9.2."""
    body = {"error": error, "type": problem_type(name), "title": HTTPStatus(status).phrase, "status": status}
    body["detail"] = error
    body.update(g.get("error_members", {}))
    asked = PROBLEM_TYPE in request.headers.get("Accept", "").lower()
    return answer(to_json(body), status, headers, PROBLEM_TYPE if asked else "application/json")


class Refusal(Exception):
    """Ends the request with `response`."""

    def __init__(self, response):
        super().__init__(response.status)
        self.response = response


def refuse(*arguments, **named):
    """Ends the request with an error answer: see `failure`."""
    raise Refusal(failure(*arguments, **named))


def compress(response):
    """Compresses a large answer if the caller accepts gzip, unless it has an ETag: that would have to change too."""
    small = not response.is_streamed and response.calculate_content_length() < MIN_COMPRESSED_BYTES
    if small or "ETag" in response.headers or response.status_code == 204:
        return
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] > 0:
        response.headers["Content-Encoding"] = "gzip"
        if response.is_streamed:
            response.response = gzipped(response.response)
        else:
            response.data = b"".join(gzipped([response.data]))


def gzipped(chunks):
    gzip = zlib.compressobj(wbits=31)
    for chunk in chunks:
        yield gzip.compress(chunk if isinstance(chunk, bytes) else chunk.encode())
    yield gzip.flush()


# Bodies


def read(take):
    """Returns what `take()` reads from the body. Refuses callers that send too slowly, and malformed bodies."""
    try:
        return take()
    except Unavailable as reason:
        refuse(503, str(reason), headers=RETRY)
    except TimeoutError:
        refuse(408, "The request came too slowly")
    except (OSError, ParseException):
        refuse(400, "The body is malformed")


def check_type(mimetype):
    if request.mimetype != mimetype:
        refuse(415, f"Content-Type must be {mimetype}")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        refuse(415, "A body must not have a Content-Encoding", headers={"Accept-Encoding": "identity"})


def read_body():
    check_type("application/json")
    length = request.content_length or 0  # 0 for a chunked body too
    body = b"" if length > MAX_BODY_BYTES else read(lambda: request.stream.read(MAX_BODY_BYTES + 1))
    if max(length, len(body)) > MAX_BODY_BYTES:
        refuse(413, f"The body is over the limit of {MAX_BODY_BYTES} bytes")
    if len(body) < length:  # a body that was cut may still be valid JSON
        refuse(400, "The body ended early")
    g.body_read = True
    return body


def parse(parser, text, around=1):
    """Returns `parser(text)` for a text in UTF-8. `around`: the levels around a value."""
    try:
        text = text.decode("utf-8")
        if nesting(text) > MAX_NESTING + around:
            refuse(400, f"A value may nest {MAX_NESTING} levels at most")
        return parser(text)
    except (ValueError, RecursionError):
        refuse(400, "Malformed JSON")


def read_members():
    """Reads the JSON object in the body: see `members`."""
    return parse(members, read_body())


def is_portable(key):
    return 1 <= len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES and not re.search("[\0\ud800-\udfff]", key)


def shown(key):
    key = key if len(key) <= 80 else key[:80] + "…"
    return json.dumps(key, ensure_ascii=re.search("[\ud800-\udfff]", key) is not None)


def invalid_key(key):
    return f"Invalid key {shown(key)}: a key is 1 to {MAX_KEY_BYTES} bytes of UTF-8 without U+0000"


def check_key(key):
    if not is_portable(key):
        refuse(400, invalid_key(key), "invalid-key")


# Unread bodies of refused requests


def has_unread_body():
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    return has_body and not g.get("body_read")


def remember_response(serve):
    """Makes gunicorn's response available to `end_connection`: only it can close the connection."""

    def serve_remembered(environ, start_response):
        environ["gunicorn.response"] = getattr(start_response, "__self__", None)
        return serve(environ, start_response)

    return serve_remembered


def end_connection():
    """Closes the connection after the answer. The worker discards the rest of the body."""
    response = request.environ["gunicorn.response"]
    if response:
        response.force_close()
