"""
Access: which pages may call (by origin) and which clients (by token). On loopback without tokens every client may.

A token belongs to a tenant, whose records are all that the caller can reach, and has a scope, which includes the scopes
before it.

Spec: docs/contract.md, 9.10 to 9.15; Fetch §3.2 (CORS); RFC 6750.
"""

import base64
import functools
import hashlib
import os
import re
import sys

from flask import g, request

from messages import refuse
from records import ANONYMOUS_TENANT
from tokens import SCOPES, TOKENS, is_expired

HOST = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
LOOPBACK = r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])"
LISTENS_ON_LOOPBACK = HOST == "::1" or re.fullmatch(LOOPBACK, HOST) is not None


def read_origins(listed):
    """ALLOWED_ORIGINS as `*` or a compiled pattern: flask-cors would read the text `[::1]` as a pattern."""
    origins = [origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()]
    if "*" in origins:
        return "*"
    named = "|".join(map(re.escape, origins)) or rf"https?://{LOOPBACK}(?::\d+)?"
    return re.compile(rf"(?:{named})\Z", re.IGNORECASE)


ORIGINS = read_origins(os.environ.get("ALLOWED_ORIGINS") or "")


def check_host_setting():
    """Ends the process if HOST is reachable from other machines and no token protects the data."""
    if not LISTENS_ON_LOOPBACK and not TOKENS.required and os.environ.get("ALLOW_ANONYMOUS") != "true":
        sys.exit(
            f"HOST={HOST} is reachable from other machines, and no tokens are set: anyone who can reach this server may"
            " read, change and delete everything. Set TOKENS_FILE or TOKENS (codeforge-storage token add), leave HOST"
            " unset, or set ALLOW_ANONYMOUS=true if you want this."
        )


def reachability():
    """What an operator should know who has set nothing, and whom other machines or pages cannot reach: lines for the log."""
    lines = []
    if LISTENS_ON_LOOPBACK:
        lines.append(
            f"HOST is {HOST}: only programs on this machine can reach this server. For other machines, set HOST=0.0.0.0"
            " and TOKENS_FILE or TOKENS (codeforge-storage token add)."
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
    if LISTENS_ON_LOOPBACK and not TOKENS.required and not re.fullmatch(rf"{LOOPBACK}(?::\d*)?", host, re.IGNORECASE):
        refuse(403, "Host not allowed")
    origin = request.headers.get("Origin")
    foreign = origin is not None and ORIGINS != "*" and not ORIGINS.match(origin)
    if foreign and request.method not in ("GET", "HEAD", "OPTIONS"):
        refuse(403, "Origin not allowed")

    g.token = token_of_request() if TOKENS.required else None
    expired = g.token is not None and is_expired(g.token)
    g.tenant, g.scope = caller(None if expired else g.token)
    is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if g.tenant is None and not is_preflight and request.path != "/health":
        if "Authorization" in request.headers:
            error = "The token has expired" if expired else "The token is unknown"
            challenge(401, error, 'Bearer error="invalid_token"')
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


def token_of_request():
    """The entry of the token that the request has, or None."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return TOKENS.find(token) if scheme.lower() == "bearer" else None


def caller(entry):
    """(tenant, scope); both are None for an unknown caller."""
    if not TOKENS.required:
        return ANONYMOUS_TENANT, "admin"
    return (entry.tenant, entry.scope) if entry else (None, None)


def is_still_allowed():
    """Whether the token of the request is still good."""
    return g.token is None or TOKENS.is_good(g.token)


def account_of(tenant):
    """Names the tenant to clients: the same for all its tokens, and on the TypeScript server. None without tokens."""
    if not TOKENS.required:
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
