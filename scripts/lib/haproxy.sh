# shellcheck shell=bash
# Sourced after signet.sh: HAProxy in TCP mode with PROXY v2 headers, as the load balancer in AWS stands before the nodes.

# start_node_behind_haproxy: another node on the same environment that trusts the header of 127.0.0.1, and HAProxy in front.
# BALANCER_PORT leads to it as the load balancer does. By STRANGER_PORT HAProxy comes from 127.0.0.3, which may not send a header.
start_node_behind_haproxy() {
  need_debian haproxy
  read -r NODE_PORT NODE_PUBLIC_PORT NODE_METRICS_PORT < <(three_free_ports)
  read -r BALANCER_PORT STRANGER_PORT NODE_HEALTH_PORT < <(three_free_ports)
  start_process node "$HOME_DIR" env "SIGNET_LISTEN__GRPC=127.0.0.1:$NODE_PORT" "SIGNET_LISTEN__PUBLIC=127.0.0.1:$NODE_PUBLIC_PORT" \
    "SIGNET_LISTEN__HEALTH=127.0.0.1:$NODE_HEALTH_PORT" "SIGNET_LISTEN__METRICS=127.0.0.1:$NODE_METRICS_PORT" 'SIGNET_LISTEN__PROXY_PROTOCOL_FROM=["127.0.0.1/32"]' \
    "$BIN/signetd" --config "$CONFIG"
  cat >"$HOME_DIR/haproxy.cfg" <<CFG
defaults
  mode tcp
  timeout connect 2s
  timeout client 30s
  timeout server 30s
listen balancer
  bind 127.0.0.1:$BALANCER_PORT
  # Health is asked as the target group does it: on the port for it, with a PROXY header in the check as well.
  option httpchk GET /readyz
  server node 127.0.0.1:$NODE_PORT send-proxy-v2 check port $NODE_HEALTH_PORT check-send-proxy inter 100ms
listen stranger
  bind 127.0.0.1:$STRANGER_PORT
  server node 127.0.0.1:$NODE_PORT send-proxy-v2 source 127.0.0.3
CFG
  start_process haproxy "$HOME_DIR" haproxy -db -f "$HOME_DIR/haproxy.cfg"
  wait_until 30 says 0 127.0.0.2 "$BALANCER_PORT" "$HOME_DIR/acme" PrincipalService/WhoAmI "" || die "HAProxy does not get through; see $HOME_DIR/haproxy.log and node.log"
}

stop_node_behind_haproxy() {
  stop_process haproxy "$HOME_DIR"
  stop_process node "$HOME_DIR"
}

# grpc FROM PORT CREDENTIALS METHOD MESSAGE: a unary call by curl from that address, the message in hexadecimal; prints the gRPC
# status, nothing if there was no answer, which else is in $HOME_DIR/answer.
grpc() {
  python3 -c 'import sys; m = bytes.fromhex(sys.argv[1]); sys.stdout.buffer.write(b"\0" + len(m).to_bytes(4, "big") + m)' "$5" |
    curl --silent --show-error --max-time 10 --http2 --interface "$1" --cacert "$3/ca.pem" --cert "$3/cert.pem" --key "$3/key.pem" \
      --header 'content-type: application/grpc' --header 'te: trailers' --data-binary @- --output "$HOME_DIR/answer" --dump-header - \
      "https://localhost:$2/signet.v1.$4" 2>"$HOME_DIR/grpc.log" | sed -n 's/^grpc-status: *\([0-9]*\).*/\1/p'
}

# says STATUS FROM PORT CREDENTIALS METHOD MESSAGE: the call ends with this gRPC status.
says() {
  local want=$1
  shift
  [[ $(grpc "$@") == "$want" ]]
}

# audited_from ADDRESS TENANT OPERATION OUTCOME: the newest such event in the tenant's log is of a caller from there.
audited_from() {
  signet audit list --tenant "$2" --output json | python3 -c '
import json, sys
events = [json.loads(event["payload_json"]) for event in json.load(sys.stdin)]
sources = [event["source"] for event in events if [event["operation"], event["outcome"]] == sys.argv[2:]]
sys.exit(sources[-1:] != [sys.argv[1]])' "$1" "$3" "$4"
}

# refused_once REASON: the node counts one such connection.
refused_once() {
  curl --silent --fail "http://127.0.0.1:$NODE_METRICS_PORT/metrics" | grep -qx "signet_connections_refused_total{reason=\"$1\"} 1"
}

check_behind_haproxy() {
  local worker=$HOME_DIR/acme client=127.0.0.2
  start_node_behind_haproxy
  grep -q crawler-1 "$HOME_DIR/answer" || die "mTLS does not pass through: the node took the worker for somebody else"
  # Again if need be: curl loses an answer that comes before it has sent its message ("stream error in the framing layer").
  wait_until 5 says 7 $client "$BALANCER_PORT" "$worker" PrincipalService/ListPrincipals "" || die "a worker could list principals"
  # SuspendPrincipal { tenant_id: "globex", principal_id: "crawler-1", request_id: "r-1" }
  says 0 $client "$BALANCER_PORT" "$SIGNET_HOME/contexts/local" PrincipalService/SuspendPrincipal 0a06676c6f6265781209637261776c65722d311a03722d31 ||
    die "the admin could not suspend globex's worker"
  wait_until 5 audited_from $client acme ListPrincipals CALLER_TYPE_DENIED || die "a refused call is not audited with the client's own address"
  wait_until 5 audited_from $client globex SuspendPrincipal OK || die "a change is not audited with the client's own address"
  says "" 127.0.0.1 "$NODE_PORT" "$worker" PrincipalService/WhoAmI "" || die "the node answers the balancer's network without a header"
  wait_until 5 refused_once BAD_PROXY_HEADER || die "a missing header is not counted"
  says "" $client "$STRANGER_PORT" "$worker" PrincipalService/WhoAmI "" || die "the node believes a stranger's header"
  wait_until 5 refused_once UNTRUSTED_PROXY_HEADER || die "a stranger's header is not counted"
  stop_node_behind_haproxy
}
