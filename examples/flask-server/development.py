"""
The development server: `python app.py`, the command of the old app. It runs in one process until Ctrl-C or SIGTERM.

It is Werkzeug's server. Malformed HTTP is answered in HTML, and each request opens a connection: use gunicorn in
production.
"""

import logging
import os
import signal
import sys
import threading

from werkzeug.serving import WSGIRequestHandler, make_server

from access import HOST, check_host_setting, reachability
from connection import STALL_SECONDS
from database import stopping

DRAIN_SECONDS = 8
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Handler(WSGIRequestHandler):
    timeout = STALL_SECONDS


def read_port():
    text = os.environ.get("PORT") or "5001"
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        sys.exit(f'PORT must be a whole number from 0 to 65535, not "{text}".')
    return int(text)


def serve(app):
    """Serves `app` until SIGINT or SIGTERM. Returns after the requests under way are answered, or after 8 seconds."""
    check_host_setting()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line for each request
    server = make_server(HOST, read_port(), app, threaded=True, request_handler=Handler)
    server.daemon_threads = False  # so that server_close waits for the requests under way
    for number in SIGNALS:
        signal.signal(number, lambda *_: stop(server))
    shown_host = f"[{HOST}]" if ":" in HOST else HOST
    lines = [
        f"Development server: http://{shown_host}:{server.server_port}",
        "In production, use gunicorn: python -m gunicorn app:app",
        *reachability(),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
    server.serve_forever()
    server.server_close()


def stop(server):
    """Ends `serve`. Further signals are ignored, also while the interpreter exits."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    stopping.set()  # answers callers that wait for changes
    # `shutdown` waits for `serve_forever`, which the signal handler interrupts.
    threading.Thread(target=server.shutdown, daemon=True).start()
    late = threading.Timer(DRAIN_SECONDS, os._exit, [0])
    late.daemon = True
    late.start()
