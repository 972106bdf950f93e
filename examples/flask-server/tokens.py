"""
Tokens: those of TOKENS, and those of the file that TOKENS_FILE names, which is read again when it changes.

The server knows only the SHA-256 hashes of tokens. `codeforge-storage token` makes tokens, and changes the file.

Spec: docs/contract.md, 9.10 to 9.12.
"""

import hashlib
import hmac
import json
import logging
import os
import re
import sys
import threading
import time
from collections import namedtuple
from datetime import datetime, timezone

SCOPES = ["read", "write", "admin"]
FORMAT = "codeforge-storage-tokens"
LOOK_EVERY = 1  # seconds between two looks at the file

# `expires`: seconds since 1970, or None.
Token = namedtuple("Token", "tenant scope digest expires")

log = logging.getLogger("gunicorn.error")


def read_list(listed):
    """Parses TOKENS. A wrong entry ends the process. The message does not show the entry: it may be a token."""
    tokens = []
    for number, entry in enumerate(filter(None, re.split(r"[\s,]+", listed)), 1):
        match = re.fullmatch(r"([A-Za-z0-9_-]{1,64}):(read|write|admin):([0-9A-Fa-f]{64})", entry)
        if not match:
            sys.exit(
                f"TOKENS: entry {number} is not <tenant>:<read|write|admin>:<SHA-256 of the token, 64 hex digits>."
                " codeforge-storage token add <tenant> <scope> creates one."
            )
        tokens.append(Token(match[1], match[2], match[3].lower(), None))
    return tokens


def read_file(path):
    """Parses a file of tokens. Raises ValueError, without the text of the file: it may contain a token."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        content = json.loads(text)
        if content["format"] != FORMAT or content["version"] != 1:
            raise ValueError
        return [read_token(token) for token in content["tokens"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path} is not a file of codeforge-storage token") from None


def read_token(token):
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", token["tenant"]) or token["scope"] not in SCOPES:
        raise ValueError
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", token["sha256"]):
        raise ValueError
    expires = token.get("expires")
    return Token(token["tenant"], token["scope"], token["sha256"].lower(), None if expires is None else seconds(expires))


def seconds(text):
    """A time of ISO 8601 as seconds since 1970. Python before 3.11 does not read the Z."""
    time_read = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    return (time_read if time_read.tzinfo else time_read.replace(tzinfo=timezone.utc)).timestamp()


class Tokens:
    def __init__(self, listed, path):
        self.listed = read_list(listed)
        self.path = path or None
        self.required = bool(self.listed) or self.path is not None
        self.lock = threading.Lock()
        self.stored = []
        self.state = None
        self.looked = 0
        if self.path:
            try:
                self.look()
            except (OSError, ValueError) as error:
                sys.exit(f"TOKENS_FILE cannot be read: {error}.")

    def look(self):
        """Reads the file again if it has changed. Until it exists for the first time, nobody is let in."""
        self.looked = time.monotonic()
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            if self.state is None:
                return
            # Said once, until it is there again.
            self.state = None
            raise
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        if state != self.state:
            self.state = state
            self.stored = read_file(self.path)

    def current(self):
        if self.path and time.monotonic() - self.looked >= LOOK_EVERY and self.lock.acquire(blocking=False):
            try:
                self.look()
            except (OSError, ValueError) as error:
                log.error("TOKENS_FILE cannot be read: the tokens that were read before stay in force. %s", error)
            finally:
                self.lock.release()
        return self.listed + self.stored

    def find(self, token):
        """The entry of a token, or None. Compares every token, so that timing reveals nothing."""
        digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
        found = [entry for entry in self.current() if hmac.compare_digest(entry.digest, digest)]
        return found[0] if found else None

    def is_good(self, entry):
        """Whether a token that was found is still good: it has not expired, and is not revoked."""
        return not is_expired(entry) and entry in self.current()


def is_expired(entry):
    return entry.expires is not None and entry.expires <= time.time()


TOKENS = Tokens(os.environ.get("TOKENS") or "", os.environ.get("TOKENS_FILE"))
