#!/bin/sh
# Writes the container's variables into config.js and nginx's configuration, and becomes nginx.
#   USE_FLASK_BACKEND   true: the page uses the server; false: IndexedDB
#   FLASK_BACKEND_URL   the address of the server
#   PROXY_BACKEND       true: the page calls its own origin, and nginx passes /api and /health to FLASK_BACKEND_URL
#   PORT                where nginx listens
set -eu

refuse() {
  echo "$1" >&2
  exit 2
}

for name in USE_FLASK_BACKEND PROXY_BACKEND; do
  eval "value=\$$name"
  case $value in
    true | false) ;;
    *) refuse "$name must be true or false, not \"$value\"." ;;
  esac
done
# These values become code: of the page, and of nginx's configuration.
case $PORT in
  '' | *[!0-9]*) refuse "PORT must be a number, not \"$PORT\"." ;;
esac
case $FLASK_BACKEND_URL in
  *[!A-Za-z0-9:/._~%@+,=\[\]-]*) refuse 'FLASK_BACKEND_URL has a character that is not allowed in it.' ;;
  http://?* | https://?*) ;;
  *) refuse "FLASK_BACKEND_URL must begin with http:// or https://, not \"$FLASK_BACKEND_URL\"." ;;
esac
backend=${FLASK_BACKEND_URL#http://}
backend=${backend%/}

mkdir -p /tmp/codeforge
if [ "$PROXY_BACKEND" = true ]; then
  case $backend in
    */*) refuse "With PROXY_BACKEND, FLASK_BACKEND_URL must be http://<host>:<port>, not \"$FLASK_BACKEND_URL\"." ;;
  esac
  url=location.origin
  cat > /tmp/codeforge/backend.conf <<END
# By the path as it was sent: nginx compares decoded paths with locations, and keys may contain '/' and '..'.
error_page 418 = @backend;
if (\$request_uri ~ ^/(api/|health(\$|\\?))) {
  return 418;
}
location @backend {
  proxy_pass http://$backend;
  proxy_http_version 1.1;
  proxy_set_header Host \$http_host;
  proxy_set_header Connection '';
  # Callers wait up to 60 seconds for changes. Event streams have a comment every 20 seconds, and their events must not wait.
  # The server has its own limits for bodies.
  proxy_read_timeout 90s;
  proxy_buffering off;
  proxy_request_buffering off;
  client_max_body_size 0;
}
END
else
  url="'$FLASK_BACKEND_URL'"
  case $USE_FLASK_BACKEND$backend in
    truelocalhost* | *.* | *\[*) ;;
    true*) echo "A browser can hardly find the host of $FLASK_BACKEND_URL: PROXY_BACKEND=true passes its requests on." >&2 ;;
  esac
fi
cat > /tmp/codeforge/config.conf <<'END'
location = /config.js {
  root /tmp/codeforge;
  add_header Cache-Control no-store;
}
END
cat > /tmp/codeforge/config.js <<END
globalThis.USE_FLASK_BACKEND = $USE_FLASK_BACKEND;
globalThis.FLASK_BACKEND_URL = $url;
END
sed "s/listen 8080;/listen $PORT;/" /etc/nginx/nginx.conf > /tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -e stderr -g 'daemon off;'
