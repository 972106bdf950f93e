# The Flask server. In the root of the repository:
#   docker build -f examples/deploy/flask.Dockerfile -t codeforge-backend-flask .
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
RUN python3 -m venv /venv && mkdir /data
COPY examples/flask-server/requirements.txt /
RUN /venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check -r /requirements.txt \
 && /venv/bin/python -m pip uninstall --yes --quiet pip

FROM ${PYTHON_IMAGE}
# gunicorn's heartbeat files are in memory: the root may be read-only, and a slow disk must not look like a worker that hangs.
ENV HOST=0.0.0.0 \
    PORT=5001 \
    DATABASE_PATH=/data/codeforge.db \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GUNICORN_CMD_ARGS=--worker-tmp-dir=/dev/shm
WORKDIR /app
# A new named volume gets the owner that the folder has in the image.
COPY --from=dependencies --chown=1000:1000 /data /data
COPY --from=dependencies /venv /venv
COPY examples/flask-server/*.py ./
# A number: Kubernetes cannot tell from a name that it is not root.
USER 1000:1000
VOLUME /data
EXPOSE 5001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 \
  CMD ["/venv/bin/python", "-c", "import os, sys, urllib.request; sys.exit(urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=5.5).status != 200)"]
ENTRYPOINT ["/venv/bin/python", "-m", "gunicorn", "app:app"]
