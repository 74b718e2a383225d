# shellcheck shell=bash
# Sourced after process.sh and cargo.sh: an environment of Signet on this machine.
# Sets BIN (our binaries), HOME_DIR (everything it writes) and CONFIG (empty: variables say all); `signet` runs the CLI on it.

# environment_dirs DIR: where this environment keeps everything, its contexts included.
environment_dirs() {
  HOME_DIR=$1
  CONFIG=$HOME_DIR/signet.toml
  export SIGNET_HOME=$HOME_DIR/contexts
  mkdir -p "$HOME_DIR"
}

signet() { "$BIN/principal" "$@"; }

# three_free_ports: prints three ports that nothing listens on.
three_free_ports() {
  python3 -c '
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))'
}

# start_signetd: runs the control plane in the background and waits until it is ready.
start_signetd() {
  start_process signetd "$HOME_DIR" "$BIN/signetd" ${CONFIG:+--config "$CONFIG"}
  wait_until 30 signetd_ready || {
    tail -n 20 "$HOME_DIR/signetd.log" >&2
    die "signetd did not get ready; the end of its log is above"
  }
}

signetd_ready() { curl --silent --fail --max-time 2 "http://127.0.0.1:$PUBLIC_PORT/readyz"; }

stop_signetd() { stop_process signetd "$HOME_DIR"; }

# root_sha256: the fingerprint of the environment's root, as an operator would hand it out.
root_sha256() {
  curl --silent --fail "http://127.0.0.1:$PUBLIC_PORT/v1/ca.pem" | openssl x509 -outform DER | sha256sum | cut -d' ' -f1
}

# aws_config: an environment of the same kind on an AWS endpoint; its tables and keys are Terraform's, PREFIX and PORT say which.
aws_config() {
  cat >"$CONFIG" <<TOML

[environment]
name = "$1"
trust_domain_suffix = "$1.example.com"

[storage]
kind = "dynamodb"
prefix = "$1"

[keys]
kind = "kms"
prefix = "$1"

[server_identity]
kind = "aws"
prefix = "/signet/$1"

[aws]
region = "$AWS_REGION"
endpoint_url = "$2"

[listen]
grpc = "127.0.0.1:$GRPC_PORT"
public = "127.0.0.1:$PUBLIC_PORT"
metrics = "127.0.0.1:$METRICS_PORT"

[server]
dns_names = ["localhost"]
ip_addresses = ["127.0.0.1"]

[audit]
seal_delay_seconds = 2
TOML
}

# use_task_environment OUTPUTS ENDPOINT: configures signetd by the very variables that the task in AWS gets, but for its listeners.
# Sets SERVER_NAME, a name in the server's certificate.
use_task_environment() {
  local output cluster service
  output=$(python3 -c 'import json, sys; o = json.load(sys.stdin)["signet"]["value"]; print(o["cluster"], o["service"], o["server_dns_names"][0])' <"$1")
  # shellcheck disable=SC2034 # for the scripts that source this
  read -r cluster service SERVER_NAME <<<"$output"
  eval "$(python3 scripts/lib/task_environment.py "$2" "$cluster" "$service")"
  export AWS_ENDPOINT_URL=$2 "SIGNET_LISTEN__GRPC=127.0.0.1:$GRPC_PORT" "SIGNET_LISTEN__PUBLIC=127.0.0.1:$PUBLIC_PORT" \
    "SIGNET_LISTEN__METRICS=127.0.0.1:$METRICS_PORT" SIGNET_AUDIT__SEAL_DELAY_SECONDS=2
  # Its load balancer is not real.
  unset SIGNET_PROBE__ENDPOINT
  CONFIG=
}
