# shellcheck shell=bash
# Sourced by scripts/demo after signet.sh: what rules decide, in a tenant's own service.

JOBS=https://localhost:9443

# follow_page FILE: runs the commands at a page's prompts in this shell, and shows what they print.
follow_page() {
  local line
  while read -r line; do
    printf '\n               $ %s\n' "$line"
    # In this shell: they set variables and start programs.
    eval "$line" >"$HOME_DIR/page.log" 2>&1 || die "the page's command failed: $line -- $(cat "$HOME_DIR/page.log")"
    sed 's/^/               /' "$HOME_DIR/page.log"
  done < <(sed -n 's/^\$ //p' "$1")
  printf '\n'
}

jobs_as() { "$BIN/job-service" --identity "$HOME/$1" --token "$HOME/$1.token" call "$JOBS" "${@:2}"; }

# may_dequeue NAME: whether it is let in; there is no job left.
may_dequeue() { [[ $(jobs_as "$1" dequeue 2>&1) == *"no job waits"* ]]; }

# follow_events NAME: a worker that does, in the background; its output is in $HOME_DIR/NAME.events.
follow_events() {
  jobs_as "$1" events >"$HOME_DIR/$1.events" 2>&1 &
  WATCHER=$!
  wait_until 10 grep -q following "$HOME_DIR/$1.events" || die "$1 does not get its stream: $(cat "$HOME_DIR/$1.events")"
}

# open_stream_ends SINCE: prints the milliseconds until the last follower's stream ended.
open_stream_ends() {
  wait_until 5 bash -c "! kill -0 $WATCHER" || die "the stream is still open"
  local ms=$(($(date +%s%3N) - $1))
  ((ms <= 2000)) || die "the open stream took $ms ms"
  echo "$ms"
}

# need_ports PORT…: nothing listens there yet.
need_ports() {
  local port
  for port in "$@"; do port_is_free "$port" || die "port $port is taken: end what listens there (ss -ltnp 'sport = :$port')"; done
}

authorization() {
  local since judges
  judges=$(judges_dir)
  export SIGNET_AUTHORIZATION__SOLVER=$judges/cvc5 HOME=$HOME_DIR PATH=$BIN:$PATH
  printf '\nA job service that lets in whom the rules allow\n\n'
  step "examples/job-service/README.md, word by word"
  cd examples/job-service || die "there is no example"
  follow_page README.md
  cd "$ROOT" || die "$ROOT is gone"

  step "a worker follows events, and is suspended"
  follow_events w-1
  since=$(date +%s%3N)
  signet suspend w-1 --tenant acme --yes --quiet
  shows "its open stream was cut after $(open_stream_ends "$since") ms: $(tail -n 1 "$HOME_DIR/w-1.events")"
  signet activate w-1 --tenant acme --quiet

  step "its type loses the permission while it follows"
  wait_until 5 may_dequeue w-1 || die "the worker is not let in again"
  follow_events w-1
  sed '/to = "type:worker"/,/permissions/s/, "events:stream"//' examples/job-service/rules.toml >"$HOME_DIR/fewer.toml"
  since=$(date +%s%3N)
  signet authz apply "$HOME_DIR/fewer.toml" --tenant acme --quiet
  shows "its open stream was cut after $(open_stream_ends "$since") ms: $(tail -n 1 "$HOME_DIR/w-1.events")"

  step "a policy that may fail is refuted by the solver, with a counterexample"
  {
    cat <<'TOML'
policies = '''
@id("recent") permit (principal is Worker, action == Action::"jobs:list", resource)
when { context.now.offset(duration("1d")) > datetime("2026-01-01") };
'''
TOML
    sed -n '/^\[permissions\]/,$p' examples/job-service/rules.toml
  } >"$HOME_DIR/bad.toml"
  refused 7 signet authz diff "$HOME_DIR/bad.toml" --tenant acme >/dev/null
  { signet authz diff "$HOME_DIR/bad.toml" --tenant acme || true; } >"$HOME_DIR/bad.diff" 2>&1
  sed -n '/REFUTED/,+1p' "$HOME_DIR/bad.diff" | sed 's/^/               /'
  if signet authz apply "$HOME_DIR/bad.toml" --tenant acme --quiet 2>"$HOME_DIR/bad.log"; then die "a refuted policy was set"; fi
  shows "$(head -n 1 "$HOME_DIR/bad.log")"

  step "Envoy before a plain HTTP server asks the agent: a user may list jobs, a worker may not"
  envoy_asks "$judges"
}

# through_envoy NAME PORT: what Envoy answers the principal, and the status.
through_envoy() {
  curl --silent --insecure --max-time 5 --cert "$HOME/$1/cert.pem" --key "$HOME/$1/key.pem" --write-out ' (%{http_code})' "https://127.0.0.1:$2/jobs/all"
}

# envoy_lets NAME PORT
envoy_lets() { [[ $(through_envoy "$@") == *"all jobs"*"(200)" ]]; }

# envoy_asks JUDGES: services/agent/relying-parties/envoy-ext-authz.yaml with an agent, before Python's HTTP server.
envoy_asks() {
  local envoy_port upstream grpc
  read -r envoy_port upstream grpc < <(three_free_ports)
  mkdir -p "$HOME_DIR/www/jobs" && echo "all jobs" >"$HOME_DIR/www/jobs/all"
  start_process upstream "$HOME_DIR" python3 -m http.server "$upstream" --bind 127.0.0.1 --directory "$HOME_DIR/www"
  signet token create service --id web --tenant acme --secret-file "$HOME_DIR/web.token" --quiet >/dev/null
  cat >"$HOME_DIR/agent.toml" <<TOML
state_dir = "agent"
[control_plane]
endpoint = "https://localhost:8443"
ca_file = "$HOME_DIR/signet/server/root.pem"
[workload_api]
socket = "workload.sock"
[[identity]]
name = "web"
enroll = { join_token_file = "web.token" }
pem = { directory = "web" }
workloads = [{ uid = "$(id -u)" }]
[identity.ext_authz]
rules = [{ methods = ["GET"], path = "/jobs/*", permission = "jobs:list" }]
TOML
  start_process agent "$HOME_DIR" "$BIN/signet-agent" --config "$HOME_DIR/agent.toml" run
  wait_until 20 "$BIN/signet-agent" --config "$HOME_DIR/agent.toml" status || die "the agent is not well: see $HOME_DIR/agent.log"
  sed "s|port_value: 8443|port_value: $envoy_port|; s|port_value: 8080|port_value: $upstream|; s|port_value: 50051|port_value: $grpc|
    s|/run/signet-agent/workload.sock|$HOME_DIR/workload.sock|; s|0.0.0.0|127.0.0.1|" services/agent/relying-parties/envoy-ext-authz.yaml >"$HOME_DIR/envoy.yaml"
  start_process envoy "$HOME_DIR" "$1/envoy" --config-path "$HOME_DIR/envoy.yaml" --use-dynamic-base-id
  wait_until 20 envoy_lets ann "$envoy_port" || die "Envoy does not let ann through: $(through_envoy ann "$envoy_port"); see $HOME_DIR/envoy.log"
  shows "ann: $(through_envoy ann "$envoy_port" | paste -sd' ')"
  [[ $(through_envoy w-1 "$envoy_port") == *PERMISSION_MISSING*"(403)" ]] || die "Envoy lets the worker through: $(through_envoy w-1 "$envoy_port")"
  shows "w-1: $(through_envoy w-1 "$envoy_port" | paste -sd' ')"
}
