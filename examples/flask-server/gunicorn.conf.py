"""
How gunicorn runs app.py: read by gunicorn itself when it starts in this folder.

Threads, because a browser keeps idle connections open and each would hold a worker without them. Idle
connections live longer than clients reuse them, so that no write is sent into one that is just closing.
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

from access import LISTENS_ON_LOOPBACK, TOKENS
from database import stopping

ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def ignore_further_signals():
    """Ctrl-C reaches a worker twice, by the terminal and by gunicorn: within a handler the second would wait for locks
    that the first one holds."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)


class StorageWorker(ThreadWorker):
    """
    On SIGTERM it answers what is under way and lets nobody wait: callers that wait for a change are answered, and
    idle connections closed. What is not HTTP is answered as all else is: in JSON.
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
                connection.timeout = 0  # the main loop's next round closes it

    def handle_quit(self, sig, frame):
        ignore_further_signals()
        stopping.set()
        super().handle_quit(sig, frame)

    def handle_error(self, req, client, addr, exc):
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Not HTTP: %s", exc)
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
            pass  # gone


host = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
port = os.environ.get("PORT") or "5001"
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
workers = int(os.environ.get("WORKERS") or min(4, max(2, os.cpu_count() or 2)))
worker_class = StorageWorker
threads = 16
keepalive = 65  # seconds
limit_request_line = 8190  # bytes, the most gunicorn takes: room for a long key's percent-escapes
forwarder_headers = ""  # or a local caller's header SCRIPT_NAME would move the routes
control_socket_disable = True  # from 25.1 on there would be one in the home folder, the same for every server

if not LISTENS_ON_LOOPBACK and not TOKENS and os.environ.get("ALLOW_ANONYMOUS") != "true":
    sys.exit(
        f"HOST={host} serves other machines, and TOKENS is not set: whoever reaches this server may read, change and"
        " wipe everything. Set TOKENS (npm run token), or ALLOW_ANONYMOUS=true if that is what you want, or leave"
        " HOST unset."
    )


def pre_fork(server, worker):
    """A signal waits until the new worker has handlers: the ones that it inherits would lose it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


os.register_at_fork(after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING))


def on_starting(server):
    if not LISTENS_ON_LOOPBACK and not TOKENS:
        server.log.warning("No tokens: whoever reaches %s may read, change and wipe everything", bind)
