# The web app, in two forms. In the root of the repository:
#   docker build -f examples/deploy/web.Dockerfile -t codeforge .
#     configured when it starts, by variables
#   docker build -f examples/deploy/web.Dockerfile --target standalone -t codeforge-standalone .
#     IndexedDB only; it has no variables
ARG NODE_IMAGE=node:26-bookworm-slim
ARG NGINX_IMAGE=nginx:stable-bookworm

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY .npmrc package.json package-lock.json ./
COPY .ci/node/package.json .ci/node/
COPY examples/server/package.json examples/server/
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsup.config.ts ./
COPY src src
COPY examples/server/src examples/server/src
COPY examples/web examples/web
RUN node_modules/.bin/tsup --silent --no-dts && node_modules/.bin/vite build examples/web --base ./ --logLevel warn

FROM ${NGINX_IMAGE} AS standalone
COPY examples/deploy/web/nginx.conf /etc/nginx/nginx.conf
COPY --from=build /app/examples/web/dist /srv/web
# A number: Kubernetes cannot tell from a name that it is not root. The official image has this user.
USER 101:101
EXPOSE 8080
# nginx ends at once on SIGTERM, and after its last answer on SIGQUIT.
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${PORT:-8080} && printf 'GET /live HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["nginx", "-e", "stderr", "-g", "daemon off;"]

FROM standalone
ENV PORT=8080 \
    USE_FLASK_BACKEND=false \
    FLASK_BACKEND_URL=http://localhost:5001 \
    PROXY_BACKEND=false
COPY examples/deploy/web/start.sh /start.sh
ENTRYPOINT ["sh", "/start.sh"]
