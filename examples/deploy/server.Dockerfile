# The reference server. In the root of the repository:
#   docker build -f examples/deploy/server.Dockerfile -t codeforge-backend .
ARG NODE_IMAGE=node:26-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
# The server uses the backup format of the package, and so its packages.
COPY .npmrc package.json package-lock.json ./
COPY .ci/node/package.json .ci/node/
COPY examples/server/package.json examples/server/package-lock.json examples/server/
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && cd examples/server \
 && npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && mkdir /data

FROM ${NODE_IMAGE}
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=5001 \
    DATABASE_PATH=/data/codeforge.db
WORKDIR /app
# A new named volume gets the owner that the folder has in the image.
COPY --from=dependencies --chown=1000:1000 /data /data
COPY --from=dependencies /app/node_modules node_modules
COPY --from=dependencies /app/examples/server/node_modules examples/server/node_modules
COPY package.json ./
COPY src/core src/core
COPY src/backup-format src/backup-format
COPY examples/server/package.json examples/server/
COPY examples/server/src examples/server/src
# A number: Kubernetes cannot tell from a name that it is not root.
USER 1000:1000
VOLUME /data
EXPOSE 5001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/ready`, { signal: AbortSignal.timeout(5500) }).then(({ status }) => process.exit(status === 200 ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "examples/server/src/main.ts"]
