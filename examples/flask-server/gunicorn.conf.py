"""
The configuration of gunicorn, which reads this file when it starts in this folder.

Idle connections stay open longer than clients reuse them, so that no write is sent while one closes: see worker.py.
"""

import os
import resource
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from access import HOST, LISTENS_ON_LOOPBACK, check_host_setting, reachability
from tokens import TOKENS
from worker import DRAIN_SECONDS, ENDING, StorageWorker

OTHER_FILES = 200  # descriptors that a worker needs besides its connections: each thread has the database open


def raise_descriptor_limit():
    """Returns how many files a worker may have open. The usual limit is 1,024, and may be raised to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


port = os.environ.get("PORT") or "5001"
bind = f"[{HOST}]:{port}" if ":" in HOST else f"{HOST}:{port}"
workers = int(os.environ.get("WORKERS") or min(4, max(2, os.cpu_count() or 2)))
worker_class = StorageWorker
threads = 32
worker_connections = max(100, raise_descriptor_limit() - OTHER_FILES)
keepalive = 65  # seconds; any other number than 0: worker.py has the times
graceful_timeout = DRAIN_SECONDS + 2
limit_request_line = 8190  # bytes, the maximum of gunicorn: room for a long key with percent-escapes
forwarder_headers = ""  # otherwise a local caller could move the routes with the header SCRIPT_NAME
control_socket_disable = True  # gunicorn 25.1 and later create one in the home folder, shared by all servers

check_host_setting()


def pre_fork(server, worker):
    """Blocks signals until the new worker has its own handlers: the inherited ones would ignore them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


os.register_at_fork(after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING))


def on_starting(server):
    for line in reachability():
        server.log.info(line)
    if not LISTENS_ON_LOOPBACK and not TOKENS.required:
        server.log.warning("No tokens are set: anyone who can reach %s may read, change and delete everything", bind)
