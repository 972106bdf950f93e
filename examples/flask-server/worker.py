"""
The worker of gunicorn: one thread receives requests, others answer them.

The main loop receives on all connections. A thread begins with a request when its head and its body are there. A body over
64 KiB is read by the thread, in one of few slots. So connections that are idle, and clients that send slowly, occupy no thread
that other requests need. `/health` has threads of its own.

On SIGTERM the worker closes idle connections, and answers the requests that are complete, or complete soon.

Spec: RFC 9112 (HTTP/1.1; §9.3.2 pipelining, §9.6 closing a connection); docs/contract.md, 9 (408, 431, 503).
"""

import errno
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus

from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, LimitRequestLine, NoMoreData, ParseException
from gunicorn.workers.gthread import ThreadWorker

from connection import (
    HURRIED_STALL_SECONDS,
    STALL_SECONDS,
    STOPPING,
    TOO_MANY_REQUESTS,
    Connection,
    PatientSocket,
    Unavailable,
)
from database import stopping

BUFFERED_BYTES = 64 * 1024  # a body up to this size is received before a thread begins with the request
MAX_HEAD_BYTES = 64 * 1024
MAX_RECEIVING = 1000  # requests that are received at once; the oldest is refused for a further one
BODY_SLOTS = 12  # threads that may read larger bodies at once; half of them for one address
SLOT_SECONDS = 5  # how long a request waits for a slot
IDLE_SECONDS = 65  # longer than clients reuse connections, so that no request is sent while one closes
DISCARD_SECONDS = 5  # how long the rest of a refused request is discarded: a socket that closes earlier is reset

# After SIGTERM.
LAST_REQUEST_SECONDS = 1  # an idle connection may send a last request: the client may have sent it already
LAST_BYTES_SECONDS = 3  # a request must be complete
LAST_DISCARD_SECONDS = 2
DRAIN_SECONDS = 8  # all requests must be answered

ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
ERROR_TEXTS = {
    408: "The request came too slowly",
    431: "The request line or a header is over the limit",
    503: STOPPING,
}


class Group(dict):
    """Connections in the same state, each with the time at which it ends, in the order of these times."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def add(self, connection):
        self[connection] = time.monotonic() + self.seconds
        connection.group = self

    def remove(self, connection):
        del self[connection]
        connection.group = None

    def shorten(self, seconds):
        """From now on, connections are in this state for at most `seconds`."""
        self.seconds = seconds
        until = time.monotonic() + seconds
        for connection in self:
            self[connection] = min(self[connection], until)

    def late(self):
        now = time.monotonic()
        while self and next(iter(self.values())) <= now:
            yield next(iter(self))


class StorageWorker(ThreadWorker):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.idle = Group(IDLE_SECONDS)
        self.receiving = Group(STALL_SECONDS)
        self.waiting = Group(SLOT_SECONDS)  # for a slot
        self.discarding = Group(DISCARD_SECONDS)
        self.working = set()
        self.slots = Counter()  # slots in use, by address
        self.health_pool = ThreadPoolExecutor(max_workers=2)

    @classmethod
    def check_config(cls, cfg, log):
        if cfg.is_ssl:
            sys.exit("This server does not serve TLS: put a reverse proxy in front of it (see README.md).")

    # Signals

    def init_signals(self):
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def handle_exit(self, sig, frame):
        # A worker receives Ctrl-C twice, from the terminal and from gunicorn. A second handler inside the first one would
        # wait for locks that the first one has.
        for ending in ENDING:
            signal.signal(ending, signal.SIG_IGN)
        super().handle_exit(sig, frame)

    handle_quit = handle_exit

    # The main loop

    def run(self):
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            self.set_accept_enabled(self.has_room())
            self.loop(1)
        self.drain()

    def loop(self, seconds):
        self.notify()
        all_work = len(self.working) >= self.cfg.threads
        PatientSocket.patience = HURRIED_STALL_SECONDS if all_work else STALL_SECONDS
        self.wait_for_and_dispatch_events(seconds)
        for connection in self.idle.late():
            self.close(connection)
        for connection in self.receiving.late():
            self.end_receiving(connection)
        for connection in self.waiting.late():
            self.dispatch(connection, Unavailable(TOO_MANY_REQUESTS if self.alive else STOPPING))
        for connection in self.discarding.late():
            self.close(connection)

    def drain(self):
        stopping.set()  # answers callers that wait for changes
        self.set_accept_enabled(False)
        for listener in self.sockets:
            self.close_listener(listener)
        self.idle.shorten(LAST_REQUEST_SECONDS)
        self.receiving.shorten(LAST_BYTES_SECONDS)
        self.waiting.shorten(LAST_BYTES_SECONDS)
        self.discarding.shorten(LAST_DISCARD_SECONDS)
        PatientSocket.receive_until = time.monotonic() + LAST_BYTES_SECONDS
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.count() > 0 and time.monotonic() < deadline:
            self.loop(0.1)
        if self.working:
            self.log.warning("Stopped before %d requests were answered", len(self.working))
        os._exit(0)  # otherwise the interpreter waits for the threads that answer them

    def close_listener(self, listener):
        """The last process that closes it resets the connections that wait to be accepted. So they are accepted first."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)  # so that other threads run only briefly between the last `accept` and `close`
        while self.accept(listener):
            pass
        listener.close()
        sys.setswitchinterval(interval)

    def count(self):
        return sum(map(len, (self.idle, self.receiving, self.waiting, self.discarding, self.working)))

    # Connections

    def has_room(self):
        return self.count() < self.worker_connections or any((self.idle, self.discarding, self.receiving))

    def make_room(self):
        """Closes the connection that is the next to end."""
        for group in (self.idle, self.discarding, self.receiving):
            if group:
                self.close(next(iter(group)))
                return

    def accept(self, listener):
        """Returns whether there was a connection."""
        if self.count() >= self.worker_connections:
            self.make_room()
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.make_room()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return False
        self.listen(Connection(sock, client, listener.getsockname(), self.cfg), self.idle, self.receive)
        return True

    def listen(self, connection, group, callback):
        """Moves the connection into a group whose connections are read by the main loop."""
        if connection.group is None:
            self.poller.register(connection.sock, selectors.EVENT_READ, partial(callback, connection))
        else:
            connection.group.remove(connection)
        group.add(connection)
        if len(self.receiving) > MAX_RECEIVING:
            self.end_receiving(next(iter(self.receiving)))

    def leave(self, connection):
        """Moves the connection out of its group."""
        if connection.group is not self.waiting:
            self.poller.unregister(connection.sock)
        connection.group.remove(connection)

    def close(self, connection):
        self.leave(connection)
        connection.sock.close()

    def end(self, connection):
        """Tells the client that nothing follows. The connection closes when the client closes it too."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            connection.sock.close()
        else:
            self.listen(connection, self.discarding, self.discard)

    # Events of one iteration may move a connection whose own event comes later: that event is then void.

    def discard(self, connection, _):
        if connection.group is self.discarding:
            connection.received.clear()
            if not connection.receive():
                self.close(connection)

    # Requests

    def receive(self, connection, _):
        if connection.group is not self.idle and connection.group is not self.receiving:
            return
        if connection.receive():
            self.advance(connection)
        elif connection.received:
            self.dispatch(connection)  # the thread finds that the request ends early
        else:
            self.close(connection)

    def advance(self, connection):
        """Continues according to what was received."""
        head = connection.head_bytes()
        if head == 0:
            if len(connection.received) > MAX_HEAD_BYTES:
                self.refuse(connection, 431)
            elif connection.group is not self.receiving:
                self.listen(connection, self.receiving if connection.received else self.idle, self.receive)
            return
        body = connection.body_bytes()
        if len(connection.received) >= head + body:
            self.dispatch(connection)
        elif body > BUFFERED_BYTES:
            self.wait_for_slot(connection)
        elif connection.group is not self.receiving:
            self.listen(connection, self.receiving, self.receive)

    def end_receiving(self, connection):
        """The thread refuses the request when it reads the body, so that the answer is complete."""
        if connection.head_bytes() == 0:
            self.refuse(connection, 408 if self.alive else 503)
        else:
            self.dispatch(connection, TimeoutError() if self.alive else Unavailable(STOPPING))

    def wait_for_slot(self, connection):
        """A waiting connection is not read: what its client sends waits in the network."""
        if self.has_slot(connection):
            self.dispatch(connection, needs_slot=True)
            return
        if connection.group is not None:
            self.leave(connection)
        self.waiting.add(connection)

    def has_slot(self, connection):
        return self.slots.total() < BODY_SLOTS and self.slots[connection.address] < BODY_SLOTS // 2

    def dispatch(self, connection, refusal=None, needs_slot=False):
        """Lets a thread answer the request. `refusal`: why no more of the request is received."""
        if connection.group is not None:
            self.leave(connection)
        self.working.add(connection)
        if needs_slot:
            self.slots[connection.address] += 1
        pool = self.health_pool if connection.is_for_health() else self.tpool
        connection.begin_request(refusal)
        pool.submit(self.serve, connection).add_done_callback(
            lambda future: self.method_queue.defer(self.finish, connection, future, needs_slot)
        )

    def finish(self, connection, future, needs_slot):
        self.working.remove(connection)
        if needs_slot:
            self.slots -= Counter([connection.address])
            self.fill_slots()
        if future.result():
            connection.end_request()
            self.advance(connection)
        else:
            self.end(connection)

    def fill_slots(self):
        for connection in list(self.waiting):
            if self.has_slot(connection):
                self.dispatch(connection, needs_slot=True)

    def serve(self, connection):
        """Answers a request, in a thread. Returns whether another may follow on the connection."""
        request = None
        try:
            request = next(connection.parser)
            return self.handle_request(request, connection) and connection.parser.finish_body(time.monotonic() + 1)
        except (StopIteration, NoMoreData, OSError, Unavailable) as error:
            self.log.debug("A connection ended: %s", error)
        except Exception as error:
            self.handle_error(request, connection.sock, connection.client, error)
        return False

    # Answers without the app

    def handle_error(self, req, client, addr, exc):
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Malformed HTTP: %s", exc)
        statuses = {LimitRequestLine: 431, LimitRequestHeaders: 431, ExpectationFailed: 417}
        try:
            client.sendall(error_answer(statuses.get(type(exc), 400)))
        except OSError:
            pass  # the caller disconnected

    def refuse(self, connection, status):
        """For a request whose head is not complete."""
        if connection.group is not None:
            self.leave(connection)
        try:
            connection.sock.raw.send(error_answer(status))
        except OSError:
            pass  # the caller disconnected, or does not read
        self.end(connection)


def error_answer(status):
    title = HTTPStatus(status).phrase
    text = ERROR_TEXTS.get(status, title)
    body = {"error": text, "type": "about:blank", "title": title, "status": status, "detail": text}
    payload = json.dumps(body, separators=(",", ":"))
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    return (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/json\r\n{retry}"
        f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nContent-Length: {len(payload)}\r\n\r\n{payload}"
    ).encode()
