"""
One connection of a client: the bytes that were received, and a socket that does not wait for a slow client without end.

A client may lag behind a minimum rate by some seconds, while it sends a body or reads an answer. Otherwise it would use a
thread, and perhaps a snapshot of the database, for as long as it likes.
"""

import math
import os
import re
import select
import socket
import sys
import time

from gunicorn.http import RequestParser

MIN_RATE = 32 * 1024  # bytes for each second
CHECK_SECONDS = 0.25  # how soon a thread that waits for a client notices that the process stops
RECEIVE_BYTES = 64 * 1024
HEAD_END = b"\r\n\r\n"
UNKNOWN_LENGTH = math.inf
STOPPING = "The server is stopping"
TOO_MANY_REQUESTS = "Too many requests at once"


def read_stall_seconds():
    text = os.environ.get("STALL_SECONDS") or "20"
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= 3600:
        sys.exit(f'STALL_SECONDS must be a whole number from 1 to 3600, not "{text}".')
    return int(text)


STALL_SECONDS = read_stall_seconds()  # how far a client may lag behind
HURRIED_STALL_SECONDS = min(2, STALL_SECONDS)  # the same while other requests wait for a thread


class Unavailable(Exception):
    """The server does not receive the rest of a request, for its own reasons. The message is for the caller."""


class PatientSocket:
    """
    A socket that never blocks, for threads that read and write as if it did. They wait for a client that keeps up with
    the minimum rate. Time that the server takes does not count.
    """

    # For all sockets.
    receive_until = math.inf  # a time; set when the process stops
    patience = STALL_SECONDS

    def __init__(self, sock):
        self.raw = sock
        self.raw.setblocking(False)
        self.begin()

    def begin(self, refusal=None):
        """For the next request. `refusal`: TimeoutError or Unavailable, if no more of the request is received."""
        self.lag = 0.0
        self.refusal = refusal

    def fileno(self):
        return self.raw.fileno()

    def close(self):
        self.raw.close()

    def shutdown(self, how):
        self.raw.shutdown(how)

    def settimeout(self, _):
        """gunicorn calls this before it closes a connection after an error."""

    def recv(self, size):
        """Raises TimeoutError for a slow client, and Unavailable."""
        while True:
            if self.refusal:
                raise self.refusal
            try:
                data = self.raw.recv(size)
            except BlockingIOError:
                if time.monotonic() >= PatientSocket.receive_until:
                    raise Unavailable(STOPPING) from None
                self.wait(select.POLLIN)
            else:
                self.lag = max(0.0, self.lag - len(data) / MIN_RATE)
                return data

    def send(self, data):
        self.sendall(data)
        return len(data)

    def sendall(self, data):
        """Raises TimeoutError for a client that reads too slowly."""
        self.lag = 0.0
        rest = memoryview(data)
        while rest:
            try:
                sent = self.raw.send(rest)
            except BlockingIOError:
                self.wait(select.POLLOUT)
            else:
                self.lag = max(0.0, self.lag - sent / MIN_RATE)
                rest = rest[sent:]

    def wait(self, event):
        begun = time.monotonic()
        poll = select.poll()
        poll.register(self.raw, event)
        poll.poll(1000 * CHECK_SECONDS)
        self.lag += time.monotonic() - begun
        if self.lag >= PatientSocket.patience:
            raise TimeoutError("The client is too slow")

    def peer_is_gone(self):
        try:
            return self.raw.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Connection:
    """`sock`, `client` and `server` are what gunicorn calls them."""

    def __init__(self, sock, client, server, cfg):
        self.sock = PatientSocket(sock)
        self.client = client
        self.server = server
        self.address = client[0] if isinstance(client, tuple) else str(client)
        self.parser = RequestParser(cfg, self.sock, client)
        self.received = bytearray()
        self.group = None  # the group of the worker's main loop that it is in

    def receive(self):
        """Receives what is there. False at the end of the connection."""
        try:
            data = self.sock.raw.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.received += data
        return data != b""

    def head_bytes(self):
        """The length of the head; 0 if it is not complete."""
        return self.received.find(HEAD_END) + len(HEAD_END) if HEAD_END in self.received else 0

    def body_bytes(self):
        """The length of the body, as far as the head says it in a simple way."""
        head = bytes(self.received[: self.head_bytes()]).lower()
        if b"\r\ntransfer-encoding:" in head:
            return UNKNOWN_LENGTH
        match = re.search(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", head)
        length = int(match[1]) if match else 0
        # The client may wait for `100 Continue`, which the thread sends.
        return UNKNOWN_LENGTH if length > 0 and b"\r\nexpect:" in head else length

    def is_for_health(self):
        return re.match(rb"(?:GET|HEAD|OPTIONS) /health[ ?]", self.received) is not None

    def begin_request(self, refusal):
        """Hands what was received to the parser."""
        self.sock.begin(refusal)
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()

    def end_request(self):
        """Takes back what was received of the next request."""
        self.received += self.parser.unreader.take_buffered()
