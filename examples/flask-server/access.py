"""
Who may call: pages by their origin, callers by their token, and on a loopback server without tokens everybody.

Tokens are known by their SHA-256 hashes alone. A token names a tenant, whose records are all that the caller can
reach, and a scope, which contains the ones before it.

Spec: docs/contract.md (Who may call), Fetch §3.2 (CORS), RFC 6750.
"""

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
    """ALLOWED_ORIGINS as `*` or one pattern; compiled, for flask-cors would take the text `[::1]` for a pattern."""
    origins = [origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()]
    if "*" in origins:
        return "*"
    named = "|".join(map(re.escape, origins)) or rf"https?://{LOOPBACK}(?::\d+)?"
    return re.compile(rf"(?:{named})\Z", re.IGNORECASE)


def read_tokens(listed):
    """TOKENS, or the end of this process: its message shows no entry, for that may be a token."""
    tokens = []
    for number, entry in enumerate(filter(None, re.split(r"[\s,]+", listed)), 1):
        match = re.fullmatch(r"([A-Za-z0-9_-]{1,64}):(read|write|admin):([0-9A-Fa-f]{64})", entry)
        if not match:
            sys.exit(
                f"TOKENS: entry {number} is not <tenant>:<read|write|admin>:<SHA-256 of the token, 64 hex digits>."
                " npm run token -- <tenant> <scope> makes one."
            )
        tokens.append(Token(match[1], match[2], match[3].lower()))
    return tokens


ORIGINS = read_origins(os.environ.get("ALLOWED_ORIGINS") or "")
TOKENS = read_tokens(os.environ.get("TOKENS") or "")


def admit():
    """No page elsewhere may write here, nor reach a loopback server by a name of its own (DNS rebinding)."""
    host = request.environ.get("HTTP_HOST", "")
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


def caller():
    """(tenant, scope), both None for nobody. All tokens are compared, so the time that it takes tells nothing."""
    if not TOKENS:
        return ANONYMOUS_TENANT, "admin"
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
    found = [entry for entry in TOKENS if hmac.compare_digest(entry.digest, digest)]
    return found[0][:2] if found and scheme.lower() == "bearer" else (None, None)


def require(scope):
    if SCOPES.index(g.scope) < SCOPES.index(scope):
        challenge(403, f"The token's scope is {g.scope}; this needs {scope}", 'Bearer error="insufficient_scope"')


def needs(scope):
    """Decorates a view that is only for callers of this scope."""

    def decorate(view):
        @functools.wraps(view)
        def allowed(*arguments, **named):
            require(scope)
            return view(*arguments, **named)

        return allowed

    return decorate


def challenge(status, error, value):
    refuse(status, error, headers={"WWW-Authenticate": value})
