# shellcheck shell=bash
# Sourced by scripts/demo after signet.sh: devices behind the gateway, as the first page of the project had them.

# An upstream that shows what it was told (/), and an open stream (/events).
GATEWAY_UPSTREAM='
import http.server, json, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        if self.path == "/events":
            self.send_response(200); self.send_header("content-type", "text/event-stream"); self.send_header("transfer-encoding", "chunked"); self.end_headers()
            while True:
                self.wfile.write(b"d\r\ndata: still\n\n\r\n"); self.wfile.flush(); time.sleep(0.1)
        body = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(__import__("sys").argv[1])), Handler).serve_forever()'

# device NAME CURL…: a request of a device to the gateway.
device() {
  curl --silent --max-time 10 --cert "$HOME_DIR/devices/$1/cert.pem" --key "$HOME_DIR/devices/$1/key.pem" "${TO_GATEWAY[@]}" "${@:2}"
}

# device_status NAME CURL…: its status alone.
device_status() { device "$1" --output /dev/null --write-out '%{http_code}' "${@:2}"; }

gateway() {
  local since token upstream gateway_port private name
  printf '\nDevices behind the gateway\n\n'
  read -r GRPC_PORT PUBLIC_PORT METRICS_PORT < <(three_free_ports)
  read -r gateway_port private upstream < <(three_free_ports)
  step "bootstrap, signetd, and a tenant whose devices may read and follow"
  signet bootstrap --local "$HOME_DIR" --grpc-address "127.0.0.1:$GRPC_PORT" --public-address "127.0.0.1:$PUBLIC_PORT" \
    --metrics-address "127.0.0.1:$METRICS_PORT" >"$HOME_DIR/bootstrap.log" 2>&1
  start_signetd
  signet tenant create acme --quiet
  cat >"$HOME_DIR/rules.toml" <<'TOML'
[permissions]
"data:read" = "see data"
[[grants]]
to = "type:device"
permissions = ["data:read"]
TOML
  signet authz apply "$HOME_DIR/rules.toml" --tenant acme --quiet

  step "principal device provision: two devices from a file, with certificate, key and trust"
  printf 'id\nsensor-001\nsensor-002\n' >"$HOME_DIR/devices.csv"
  signet device provision -f "$HOME_DIR/devices.csv" --out "$HOME_DIR/devices" --tenant acme --quiet
  shows "$(cd "$HOME_DIR/devices/sensor-001" && echo *)"

  step "the gateway, a service of the tenant, before a plain HTTP server"
  signet token create service --id gateway-1 --tenant acme --secret-file "$HOME_DIR/gateway.token" --quiet >/dev/null
  curl --silent --fail "http://127.0.0.1:$PUBLIC_PORT/v1/server-anchor.pem" >"$HOME_DIR/server-anchor.pem"
  curl --silent --fail "http://127.0.0.1:$PUBLIC_PORT/v1/tenants/acme/bundle.pem" >"$HOME_DIR/bundle.pem"
  cat >"$HOME_DIR/gateway.toml" <<TOML
state_dir = "gateway"
private = "127.0.0.1:$private"
[control_plane]
endpoint = "https://localhost:$GRPC_PORT"
ca_file = "server-anchor.pem"
[identity]
join_token_file = "gateway.token"
[listen]
https = "127.0.0.1:$gateway_port"
[bans]
failed_handshakes = 10
log_file = "bans.log"
[audit]
file = "audit.jsonl"
[token]
[[upstream]]
name = "backend"
url = "http://127.0.0.1:$upstream"
[[route]]
path = "/api/*"
upstream = "backend"
permission = "data:read"
accept = ["token"]
[[route]]
path = "/*"
upstream = "backend"
permission = "data:read"
TOML
  start_process upstream "$HOME_DIR" python3 -c "$GATEWAY_UPSTREAM" "$upstream"
  start_process gateway "$HOME_DIR" "$BIN/signet-gateway" --config "$HOME_DIR/gateway.toml" run
  wait_until 20 curl --silent --fail --output /dev/null "http://127.0.0.1:$private/healthz" || die "the gateway is not well: see $HOME_DIR/gateway.log"
  name=$(openssl x509 -in "$HOME_DIR/gateway/cert.pem" -noout -ext subjectAltName | grep -o 'DNS:[^,]*' | cut -d: -f2)
  TO_GATEWAY=(--cacert "$HOME_DIR/bundle.pem" --resolve "$name:$gateway_port:127.0.0.1")
  GATEWAY=https://$name:$gateway_port
  wait_until 10 bash -c "[[ \$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 --cert '$HOME_DIR/devices/sensor-001/cert.pem' --key '$HOME_DIR/devices/sensor-001/key.pem' ${TO_GATEWAY[*]} '$GATEWAY/') == 200 ]]" ||
    die "the gateway does not let sensor-001 through: $(device sensor-001 "$GATEWAY/")"
  shows "sensor-001 gets through, and the server is told: $(device sensor-001 "$GATEWAY/" | python3 -c 'import json, sys
h = json.load(sys.stdin); print(", ".join(f"{k}: {h[k][:24]}…" for k in sorted(h) if k in ("client-cert", "signet-identity")))')"

  step "headers that a client makes up do not arrive"
  device sensor-001 "$GATEWAY/" -H 'Client-Cert: :AAAA:' -H 'Client_Cert: x' -H 'signet-identity: admin' -H 'Connection: Client-Cert' \
    -H 'X_Forwarded_User: admin' >"$HOME_DIR/told.json"
  ! grep -qE 'AAAA|admin' "$HOME_DIR/told.json" || die "a forged header came through: $(cat "$HOME_DIR/told.json")"
  shows "Client-Cert (also named by Connection), Client_Cert, signet-identity, X_Forwarded_User: gone"

  step "certificate to token, and a call with it"
  token=$(device sensor-001 -X POST "$GATEWAY/auth/token" | field access_token)
  [[ $(device_status sensor-001 "$GATEWAY/api/1") == 401 ]] || die "without a token it is let through"
  [[ $(device_status sensor-001 "$GATEWAY/api/1" -H "Authorization: Bearer $token") == 200 ]] || die "the token is refused"
  [[ $(device_status sensor-002 "$GATEWAY/api/1" -H "Authorization: Bearer $token") == 401 ]] || die "another device uses it"
  shows "200 with the certificate that it is bound to, 401 with sensor-002's"

  step "suspend the device while a stream is open"
  device sensor-001 --no-buffer --max-time 30 "$GATEWAY/events" >"$HOME_DIR/events" 2>/dev/null &
  # shellcheck disable=SC2034 # open_stream_ends reads it.
  WATCHER=$!
  wait_until 10 test -s "$HOME_DIR/events" || die "the stream did not open"
  since=$(date +%s%3N)
  signet suspend sensor-001 --tenant acme --yes --quiet
  shows "its stream ended after $(open_stream_ends "$since") ms; a new call: $(device_status sensor-001 "$GATEWAY/")"

  step "ten handshakes with a made-up certificate, and Debian's fail2ban"
  ban_by_fail2ban "$name" "$gateway_port"
}

# ban_by_fail2ban NAME PORT: from one of loopback's other addresses, so that this machine's own is not banned.
ban_by_fail2ban() {
  local dir=$HOME_DIR/fail2ban n
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x -keyout "$HOME_DIR/x.key" -out "$HOME_DIR/x.pem" 2>/dev/null
  for n in $(seq 10); do
    curl --silent --insecure --max-time 5 --interface 127.0.0.9 --cert "$HOME_DIR/x.pem" --key "$HOME_DIR/x.key" "https://127.0.0.1:$2/" >/dev/null 2>&1 || true
  done
  wait_until 5 grep -q 'src=127.0.0.9' "$HOME_DIR/bans.log" || die "the gateway banned nobody after $n handshakes: $(tail -n 3 "$HOME_DIR/gateway.log")"
  shows "$(tail -n 1 "$HOME_DIR/bans.log")"
  cp -r /etc/fail2ban "$dir"
  cp -r services/control-plane/fail2ban/. "$dir"
  rm -f "$dir/jail.d/defaults-debian.conf"
  printf '[signetd]\nlogpath = %s\nbanaction = dummy\nignoreself = false\n' "$HOME_DIR/bans.log" >"$dir/jail.d/zz-demo.local"
  printf '[Init]\ntarget = %s\n' "$HOME_DIR/banned" >"$dir/action.d/dummy.local"
  printf '[Definition]\nlogtarget = %s\ndbfile = None\n' "$dir/log" >"$dir/fail2ban.local"
  start_process fail2ban "$HOME_DIR" fail2ban-server -f -c "$dir" -s "$dir/socket" -p "$dir/pid" start
  wait_until 20 grep -qs '127.0.0.9' "$HOME_DIR/banned" || die "fail2ban bans nobody: $(tail -n 5 "$dir/log")"
  shows "fail2ban: $(grep -m1 '127.0.0.9' "$HOME_DIR/banned")"
}
