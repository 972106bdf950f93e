"""
Access: which pages may call (by origin) and which clients (by token). On loopback without tokens every client may.

The server knows only the SHA-256 hashes of tokens. A token belongs to a tenant, whose records are all that the caller
can reach, and has a scope, which includes the scopes before it.

Spec: docs/contract.md, 9.10 to 9.15; Fetch §3.2 (CORS); RFC 6750.
"""

import base64
import functools
import hashlib
import hmac
import os
import re
import sys
from collections import namedtuple

from flask import g, request

from messages import refuse
from records import ANONYMOUS_TENANT

HOST = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
LOOPBACK = r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])"
LISTENS_ON_LOOPBACK = HOST == "::1" or re.fullmatch(LOOPBACK, HOST) is not None
SCOPES = ["read", "write", "admin"]

Token = namedtuple("Token", "tenant scope digest")


def read_origins(listed):
    """ALLOWED_ORIGINS as `*` or a compiled pattern: flask-cors would read the text `[::1]` as a pattern."""
    origins = [origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()]
    if "*" in origins:
        return "*"
    named = "|".join(map(re.escape, origins)) or rf"https?://{LOOPBACK}(?::\d+)?"
    return re.compile(rf"(?:{named})\Z", re.IGNORECASE)


def read_tokens(listed):
    """Parses TOKENS. A wrong entry ends the process. The message does not show the entry: it may be a token."""
    tokens = []
    for number, entry in enumerate(filter(None, re.split(r"[\s,]+", listed)), 1):
        match = re.fullmatch(r"([A-Za-z0-9_-]{1,64}):(read|write|admin):([0-9A-Fa-f]{64})", entry)
        if not match:
            sys.exit(
                f"TOKENS: entry {number} is not <tenant>:<read|write|admin>:<SHA-256 of the token, 64 hex digits>."
                " npm run token -- <tenant> <scope> creates one."
            )
        tokens.append(Token(match[1], match[2], match[3].lower()))
    return tokens


ORIGINS = read_origins(os.environ.get("ALLOWED_ORIGINS") or "")
TOKENS = read_tokens(os.environ.get("TOKENS") or "")


def check_host_setting():
    """Ends the process if HOST is reachable from other machines and no token protects the data."""
    if not LISTENS_ON_LOOPBACK and not TOKENS and os.environ.get("ALLOW_ANONYMOUS") != "true":
        sys.exit(
            f"HOST={HOST} is reachable from other machines, and no TOKENS are set: anyone who can reach this server may"
            " read, change and delete everything. Set TOKENS (npm run token), leave HOST unset, or set"
            " ALLOW_ANONYMOUS=true if you want this."
        )


def reachability():
    """What an operator should know who has set nothing, and whom other machines or pages cannot reach: lines for the log."""
    lines = []
    if LISTENS_ON_LOOPBACK:
        lines.append(
            f"HOST is {HOST}: only programs on this machine can reach this server. For other machines, set HOST=0.0.0.0"
            " and TOKENS (npm run token -- <tenant> <scope>)."
        )
    if not os.environ.get("ALLOWED_ORIGINS"):
        lines.append(
            "ALLOWED_ORIGINS is not set: only pages from this machine may read and write. For others, set"
            " ALLOWED_ORIGINS=https://app.example, or a list with commas."
        )
    return lines


def check_access():
    """
    Runs before each request. Pages of other origins may not write. A page whose own name was made to resolve to
    loopback (DNS rebinding) sends that name as Host, and is refused.
    """
    host = addressed_host()
    if LISTENS_ON_LOOPBACK and not TOKENS and not re.fullmatch(rf"{LOOPBACK}(?::\d*)?", host, re.IGNORECASE):
        refuse(403, "Host not allowed")
    origin = request.headers.get("Origin")
    foreign = origin is not None and ORIGINS != "*" and not ORIGINS.match(origin)
    if foreign and request.method not in ("GET", "HEAD", "OPTIONS"):
        refuse(403, "Origin not allowed")

    g.tenant, g.scope = caller()
    is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if g.tenant is None and not is_preflight and request.path != "/health":
        if "Authorization" in request.headers:
            challenge(401, "The token is unknown", 'Bearer error="invalid_token"')
        challenge(401, "A token is needed", "Bearer")


def addressed_host():
    """The host that the request is for. The one in an absolute target replaces the Host header (RFC 9112 §3.2.2)."""
    host = request.environ.get("HTTP_HOST", "")
    # WSGI joins several Host headers with a comma.
    if not host or "," in host:
        refuse(400, "A request must have one Host")
    target = re.match(r"https?://([^/?]*)", request.environ.get("RAW_URI", ""), re.IGNORECASE)
    if target and "@" in target[1]:
        refuse(400, "Malformed request")
    return target[1] if target else host


def caller():
    """(tenant, scope); both are None for an unknown caller. Compares every token, so that timing reveals nothing."""
    if not TOKENS:
        return ANONYMOUS_TENANT, "admin"
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
    found = [entry for entry in TOKENS if hmac.compare_digest(entry.digest, digest)]
    return found[0][:2] if found and scheme.lower() == "bearer" else (None, None)


def account_of(tenant):
    """Names the tenant to clients: the same for all its tokens, and on the TypeScript server. None without tokens."""
    if not TOKENS:
        return None
    digest = hashlib.sha256(f"account:{tenant}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:22]


def check_scope(scope):
    if SCOPES.index(g.scope) < SCOPES.index(scope):
        challenge(403, f"This needs a token with the scope {scope}", 'Bearer error="insufficient_scope"')


def requires(scope):
    """Decorates a view for callers with this scope."""

    def decorate(view):
        @functools.wraps(view)
        def allowed(*arguments, **named):
            check_scope(scope)
            return view(*arguments, **named)

        return allowed

    return decorate


def challenge(status, error, value):
    refuse(status, error, headers={"WWW-Authenticate": value})
