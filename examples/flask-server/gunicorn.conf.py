"""
How gunicorn runs app.py: read by gunicorn itself when it starts in this folder.

Threads, because a browser keeps idle connections open and each would hold a worker without them. Idle
connections live longer than clients reuse them, so that no write is sent into one that is just closing.
"""

import os
import sys

from gunicorn.workers.gthread import ThreadWorker


class DrainingWorker(ThreadWorker):
    """On SIGTERM it answers what is under way, and closes idle connections, which gthread would wait for."""

    def handle_exit(self, sig, frame):
        super().handle_exit(sig, frame)
        for idle in ("keepalived_conns", "pending_conns"):
            for connection in getattr(self, idle, ()):
                connection.timeout = 0  # the main loop's next round closes it


host = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
port = os.environ.get("PORT") or "5001"
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
workers = int(os.environ.get("WORKERS") or min(4, max(2, os.cpu_count() or 2)))
worker_class = DrainingWorker
threads = 8
keepalive = 65  # seconds
limit_request_line = 8190  # bytes, the most gunicorn takes: room for a long key's percent-escapes
control_socket_disable = True  # from 25.1 on there would be one in the home folder, the same for every server

loopback = host in ("localhost", "::1") or host.startswith("127.")
if not loopback and os.environ.get("ALLOW_ANONYMOUS") != "true":
    sys.exit(
        f"HOST={host} serves other machines, and this server knows no tokens: whoever reaches it may read, change"
        " and wipe everything. Set ALLOW_ANONYMOUS=true if that is what you want, or leave HOST unset."
    )


def on_starting(server):
    if not loopback:
        server.log.warning("No tokens: whoever reaches %s may read, change and wipe everything", bind)
