# shellcheck shell=bash
# Sourced by scripts/demo after signet.sh: devices on Debian's Mosquitto with Signet's plugin.

# hears LOG: waits until a line came.
hears() { wait_until 10 test -s "$1" || die "nothing came: $(tail -n 5 "$HOME_DIR/mosquitto.log")"; }

# as DEVICE TENANT COMMAND…: mosquitto_pub or mosquitto_sub with a device's files; prints what it says.
as() {
  "$3" --cafile "$HOME_DIR/server.pem" --cert "$HOME_DIR/$2/$1/cert.pem" --key "$HOME_DIR/$2/$1/key.pem" -h localhost -p "$BROKER_PORT" \
    -i "$2/$1${SUFFIX:-}" -q 1 "${@:4}" 2>&1
}

# listens NAME: a subscriber of acme's service, whose messages go to NAME.heard.
listens() {
  : >"$HOME_DIR/$1.heard"
  # shellcheck disable=SC2016 # the inner shell expands it
  start_process "$1" "$HOME_DIR" bash -c 'exec "$@" >"$0"' "$HOME_DIR/$1.heard" mosquitto_sub --cafile "$HOME_DIR/server.pem" \
    --cert "$HOME_DIR/acme/ingest/cert.pem" --key "$HOME_DIR/acme/ingest/key.pem" -h localhost -p "$BROKER_PORT" -i "acme/ingest:$1" -q 1 -t 'tenant/acme/#' -v
  wait_until 10 grep -q "as acme/ingest:$1 " "$HOME_DIR/mosquitto.log" || die "the listener does not get in: $(tail -n 5 "$HOME_DIR/mosquitto.log")"
}

# signed SECRET_FILE TEXT: a message with its signature before it, for MQTT 3.1.1.
signed() {
  printf '%s' "$2" | python3 examples/device-messages/device.py "$1"
  printf '\n%s' "$2"
}

# broker: Mosquitto by the recipe of the plugin's README.
broker() {
  local plugin tenant
  plugin=$BIN/libsignet_mosquitto_plugin.so
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -addext basicConstraints=critical,CA:FALSE -keyout "$HOME_DIR/server-key.pem" -out "$HOME_DIR/server.pem" 2>/dev/null
  : >"$HOME_DIR/anchors.pem"
  cat >"$HOME_DIR/plugin.toml" <<TOML
[control_plane]
endpoint = "https://localhost:$GRPC_PORT"
ca_file = "server-anchor.pem"
[tokens]
audience = "mqtt"
TOML
  for tenant in acme globex; do
    signet token create service --id broker-1 --tenant "$tenant" --secret-file "$HOME_DIR/$tenant.token" --quiet >/dev/null
    signet ca bundle --tenant "$tenant" >>"$HOME_DIR/anchors.pem"
    printf '[[tenants]]\nstate_dir = "state-%s"\njoin_token_file = "%s.token"\nrequire_signatures = %s\n' "$tenant" "$tenant" \
      "$([[ $tenant == acme ]] && echo true || echo false)" >>"$HOME_DIR/plugin.toml"
  done
  # As root the broker would become a user who may not read these files.
  { printf 'user %s\nlog_dest stderr\n' "$(id -un)" && cat services/mosquitto-plugin/mosquitto.conf; } |
    sed "s#/usr/lib/signet/libsignet_mosquitto_plugin.so#$plugin#; s#/etc/signet/mosquitto.toml#$HOME_DIR/plugin.toml#
         s#/etc/signet/mosquitto#$HOME_DIR#; s/8883/$BROKER_PORT/; s/8885/$TOKEN_PORT/" >"$HOME_DIR/mosquitto.conf"
  start_process mosquitto "$HOME_DIR" mosquitto -c "$HOME_DIR/mosquitto.conf"
  wait_until 30 grep -q 'following the control plane for tenant globex' "$HOME_DIR/mosquitto.log" || die "the broker is not well: $(tail -n 5 "$HOME_DIR/mosquitto.log")"
}

mqtt() {
  local since answer serial issuer name tenant enroll
  PATH=$PATH:/usr/sbin
  need mosquitto "Debian: apt-get install mosquitto."
  need mosquitto_pub "Debian: apt-get install mosquitto-clients."
  printf '\nDevices on MQTT: Debian'"'"'s Mosquitto with libsignet_mosquitto_plugin.so\n\n'
  read -r GRPC_PORT PUBLIC_PORT METRICS_PORT < <(three_free_ports)
  read -r BROKER_PORT TOKEN_PORT _ < <(three_free_ports)
  step "bootstrap, signetd, and two tenants with devices"
  signet bootstrap --local "$HOME_DIR" --grpc-address "127.0.0.1:$GRPC_PORT" --public-address "127.0.0.1:$PUBLIC_PORT" \
    --metrics-address "127.0.0.1:$METRICS_PORT" >"$HOME_DIR/bootstrap.log" 2>&1
  start_signetd
  cat >"$HOME_DIR/rules.toml" <<'TOML'
[permissions]
"mqtt:publish" = "publish to the tenant's topics"
"mqtt:subscribe" = "hear all of the tenant's topics"
[[grants]]
to = "type:service"
permissions = ["mqtt:publish", "mqtt:subscribe", "message_secrets.fetch"]
TOML
  for tenant in acme globex; do
    signet tenant create "$tenant" --quiet
    signet authz apply "$HOME_DIR/rules.toml" --tenant "$tenant" --quiet
    signet device provision sensor-1 --out "$HOME_DIR/$tenant/sensor-1" --tenant "$tenant" --quiet
  done
  for name in ingest partner; do
    signet token create service --id "$name" --tenant acme --secret-file "$HOME_DIR/$name.token" --quiet >/dev/null
  done
  curl --silent --fail "http://127.0.0.1:$PUBLIC_PORT/v1/server-anchor.pem" >"$HOME_DIR/server-anchor.pem"
  enroll=(signet enroll --server "https://localhost:$GRPC_PORT" --ca-file "$HOME_DIR/server-anchor.pem" --quiet)
  "${enroll[@]}" --token-file "$HOME_DIR/ingest.token" --out "$HOME_DIR/acme/ingest" >/dev/null
  "${enroll[@]}" --token-file "$HOME_DIR/partner.token" --save-context partner
  broker

  step "a device publishes; a service of its tenant hears it, the other tenant's device asks for # and hears nothing"
  listens reader
  answer=$(as sensor-1 globex mosquitto_sub -t '#' -W 3 -v) || true
  [[ $answer == *denied* ]] || die "the other tenant's device was not refused: $answer"
  as sensor-1 acme mosquitto_pub -t tenant/acme/device/sensor-1/telemetry -m '21.5' || die "it may not publish"
  hears "$HOME_DIR/reader.heard"
  shows "acme's service: $(head -n 1 "$HOME_DIR/reader.heard"); globex's device: $answer"

  step "a partner without a certificate: a broker token for one topic, good for ten seconds"
  signet --context partner broker-token get --publish 'tenant/{tenant}/{id}/pump-7/telemetry' --valid-for 10s --quiet >"$HOME_DIR/partner.jwt"
  since=$(date +%s%3N)
  start_process pump "$HOME_DIR" bash -c 'while :; do echo running; sleep 0.2; done | mosquitto_pub "$@"' pump --cafile "$HOME_DIR/server.pem" -h localhost \
    -p "$TOKEN_PORT" -i acme/partner:pump-7 -u pump-7 -P "$(cat "$HOME_DIR/partner.jwt")" -t tenant/acme/partner/pump-7/telemetry -l
  wait_until 10 grep -q 'partner/pump-7' "$HOME_DIR/reader.heard" || die "the partner's pump is not heard: $(tail -n 5 "$HOME_DIR/mosquitto.log")"
  mosquitto_pub --cafile "$HOME_DIR/server.pem" -h localhost -p "$TOKEN_PORT" -i acme/partner:other -u x -P "$(cat "$HOME_DIR/partner.jwt")" -q 1 \
    -t tenant/acme/device/sensor-1/commands -m open || true
  wait_until 5 grep -q 'may not publish to' "$HOME_DIR/mosquitto.log" || die "it could publish elsewhere"
  wait_until 20 grep -q 'BROKER_TOKEN_EXPIRED' "$HOME_DIR/mosquitto.log" || die "the session outlives its token"
  shows "heard on its topic, refused on another, and cut after $(($(date +%s%3N) - since)) ms"
  stop_process pump "$HOME_DIR"

  step "the device gets a secret: from now on only what it has signed is passed on, once"
  signet device secret rotate sensor-1 --secret-file "$HOME_DIR/secret-1.txt" --tenant acme --quiet
  as sensor-1 acme mosquitto_pub -t tenant/acme/device/sensor-1/telemetry -m unsigned || true
  signed "$HOME_DIR/secret-1.txt" signed-1 >"$HOME_DIR/message"
  passes sensor-1 "$HOME_DIR/message" signed-1
  as sensor-1 acme mosquitto_pub -t tenant/acme/device/sensor-1/telemetry -f "$HOME_DIR/message" || true
  wait_until 5 grep -q 'MESSAGE_REPLAYED' "$HOME_DIR/mosquitto.log" || die "the replay was not dropped"
  ! grep -q unsigned "$HOME_DIR/reader.heard" || die "an unsigned message was passed on"
  [[ $(grep -c '^signed-1' "$HOME_DIR/reader.heard") == 1 ]] || die "the message was passed on twice"
  shows "signed: passed on; unsigned and replayed: $(grep -o 'MESSAGE_[A-Z]*' "$HOME_DIR/mosquitto.log" | sort -u | paste -sd' ')"

  step "the next secret: both sign for an hour, and with --now the old one ends"
  signet device secret rotate sensor-1 --secret-file "$HOME_DIR/secret-2.txt" --tenant acme --quiet
  signed "$HOME_DIR/secret-1.txt" old-in-grace >"$HOME_DIR/message"
  passes sensor-1 "$HOME_DIR/message" old-in-grace
  signed "$HOME_DIR/secret-2.txt" next >"$HOME_DIR/message"
  passes sensor-1 "$HOME_DIR/message" next
  signet device secret rotate sensor-1 --now --yes --secret-file "$HOME_DIR/secret-3.txt" --tenant acme --quiet
  since=$(date +%s%3N)
  # shellcheck disable=SC2329 # by wait_until
  dropped() {
    signed "$HOME_DIR/secret-2.txt" stolen >"$HOME_DIR/message"
    as sensor-1 acme mosquitto_pub -t tenant/acme/device/sensor-1/telemetry -f "$HOME_DIR/message" >/dev/null
    grep -q MESSAGE_WRONG_SIGNATURE "$HOME_DIR/mosquitto.log"
  }
  wait_until 5 dropped || die "the replaced secret still signs"
  shows "both were passed on; the replaced ones are refused after $(($(date +%s%3N) - since)) ms"

  step "revoke the device's certificate while it is connected"
  SUFFIX=:live as sensor-1 acme mosquitto_sub -t tenant/acme/device/sensor-1/commands >"$HOME_DIR/live.heard" 2>&1 &
  wait_until 10 grep -q 'as acme/sensor-1:live ' "$HOME_DIR/mosquitto.log" || die "the device does not get in"
  serial=$(openssl x509 -in "$HOME_DIR/acme/sensor-1/cert.pem" -noout -serial | cut -d= -f2)
  issuer=$(signet --context partner whoami --output json | field issuer_id)
  since=$(date +%s%3N)
  signet cert revoke "$issuer" "$serial" --tenant acme --yes --quiet
  # shellcheck disable=SC2329 # by wait_until
  ended() { grep -q 'ended client id "acme/sensor-1:live": CERTIFICATE_REVOKED' "$HOME_DIR/mosquitto.log"; }
  wait_until 5 ended || die "its session goes on: $(tail -n 5 "$HOME_DIR/mosquitto.log")"
  shows "disconnected after $(($(date +%s%3N) - since)) ms (the command included)"
  answer=$(as sensor-1 acme mosquitto_pub -t tenant/acme/device/sensor-1/telemetry -m back) && die "it came back"
  shows "on return: $(head -n 1 <<<"$answer")"
}

# passes DEVICE FILE TEXT: sends a message until it is passed on, since the broker may not know the secret yet.
passes() {
  # shellcheck disable=SC2329 # by wait_until
  sends() {
    as "$1" acme mosquitto_pub -t "tenant/acme/device/$1/telemetry" -f "$2"
    wait_until 1 grep -q "^$3" "$HOME_DIR/reader.heard"
  }
  wait_until 10 sends "$@" || die "it is not passed on: $(tail -n 5 "$HOME_DIR/mosquitto.log")"
}
