"""
The configuration of gunicorn, which reads this file when it starts in this folder.

Workers have threads, because browsers keep idle connections open and each would block a worker without threads. Idle
connections stay open longer than clients reuse them, so that no write is sent while one closes.
"""

import json
import os
import signal
import sys
from http import HTTPStatus

from gunicorn import util
from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from access import HOST, LISTENS_ON_LOOPBACK, TOKENS, check_host_setting
from database import stopping

ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def ignore_further_signals():
    """
    A worker receives Ctrl-C twice, from the terminal and from gunicorn. A second handler inside the first one would
    wait for locks that the first one holds.
    """
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)


class StorageWorker(ThreadWorker):
    """
    On SIGTERM, the worker finishes the requests under way, answers callers that wait for a change, and closes idle
    connections. Malformed HTTP is answered in JSON too.
    """

    def init_signals(self):
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def handle_exit(self, sig, frame):
        ignore_further_signals()
        super().handle_exit(sig, frame)
        stopping.set()
        for idle in ("keepalived_conns", "pending_conns"):
            for connection in getattr(self, idle, ()):
                connection.timeout = 0  # the next iteration of the main loop closes it

    def handle_quit(self, sig, frame):
        ignore_further_signals()
        stopping.set()
        super().handle_quit(sig, frame)

    def handle_error(self, req, client, addr, exc):
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Malformed HTTP: %s", exc)
        statuses = {LimitRequestLine: 431, LimitRequestHeaders: 431, ExpectationFailed: 417}
        status = HTTPStatus(statuses.get(type(exc), 400))
        text = "The request line or a header is over the limit" if status == 431 else status.phrase
        body = {"error": text, "type": "about:blank", "title": status.phrase, "status": status, "detail": text}
        payload = json.dumps(body, separators=(",", ":"))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        try:
            util.write(client, (head + payload).encode())
        except OSError:
            pass  # the caller disconnected


port = os.environ.get("PORT") or "5001"
bind = f"[{HOST}]:{port}" if ":" in HOST else f"{HOST}:{port}"
workers = int(os.environ.get("WORKERS") or min(4, max(2, os.cpu_count() or 2)))
worker_class = StorageWorker
threads = 16
keepalive = 65  # seconds
limit_request_line = 8190  # bytes, the maximum of gunicorn: room for a long key with percent-escapes
forwarder_headers = ""  # otherwise a local caller could move the routes with the header SCRIPT_NAME
control_socket_disable = True  # gunicorn 25.1 and later create one in the home folder, shared by all servers

check_host_setting()


def pre_fork(server, worker):
    """Blocks signals until the new worker has its own handlers: the inherited ones would ignore them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


os.register_at_fork(after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING))


def on_starting(server):
    if not LISTENS_ON_LOOPBACK and not TOKENS:
        server.log.warning("No tokens are set: anyone who can reach %s may read, change and delete everything", bind)
