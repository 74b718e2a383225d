# shellcheck shell=bash
# Sourced by scripts/nightly: two releases side by side on one store.

# old_binaries REF: builds the release at REF once, in a worktree of its own, and prints the folder of its binaries.
old_binaries() {
  local ref=$1 commit tree
  commit=$(git rev-parse --verify --quiet "$ref^{commit}") || die "there is no commit $ref"
  tree=$LOCAL/versions/$commit
  if [[ ! -x $tree/target/debug/signet-agent ]]; then
    say "building $ref (the first time about six minutes) …"
    [[ -d $tree ]] || git worktree add --quiet --detach "$tree" "$commit" >&2
    (cd "$tree" && CARGO_TARGET_DIR=$tree/target cargo build --workspace --bins --quiet >&2) || die "$ref does not build"
  fi
  echo "$tree/target/debug"
}

# one_field NAME: one field of a JSON object on standard input.
one_field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# run_server BIN: signetd of that release, in place of the one that runs.
run_server() {
  stop_signetd 2>/dev/null || true
  BIN=$1 start_signetd >/dev/null
}

# live BIN ID: a worker enrolls, renews, is seen and refused, by the commands of that release.
live() {
  local bin=$1 id=$2 before after
  local server=(--server "https://localhost:$GRPC_PORT" --server-name localhost --ca-url "http://127.0.0.1:$PUBLIC_PORT")
  "$bin/principal" token create worker --id "$id" --tenant acme --secret-file "$HOME_DIR/$id.token" --quiet >/dev/null
  "$bin/principal" enroll "${server[@]}" --ca-sha256 "$(root_sha256)" --token-file "$HOME_DIR/$id.token" --save-context "$id" --quiet >/dev/null
  before=$("$bin/principal" --context "$id" whoami --output json | one_field serial_number)
  "$bin/principal" --context "$id" cert renew --quiet
  after=$("$bin/principal" --context "$id" whoami --output json | one_field serial_number)
  [[ $before != "$after" ]] || die "$id did not renew"
}

# goes_on BIN ID: what a worker has from another release is good for this one.
goes_on() {
  "$1/principal" --context "$2" cert renew --quiet || die "$2 cannot renew with ${1#"$ROOT/"}"
  "$1/principal" --context "$2" whoami --quiet >/dev/null || die "$2 is not admitted with ${1#"$ROOT/"}"
}

# ends BIN ID: a suspension by that release is a refusal.
ends() {
  "$1/principal" suspend "$2" --tenant acme --yes --quiet >/dev/null
  ! "$1/principal" --context "$2" whoami --quiet >/dev/null 2>&1 || die "$2 is suspended and was admitted"
}

# add_fields: what a release after this one may store with its records.
add_fields() {
  python3 - "$HOME_DIR/signet.db" <<'PY'
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
for table in ("tenants", "principals", "certificates"):
    store.execute(f"UPDATE {table} SET body = json_set(body, '$.of_a_later_release', json('{{\"n\":1}}'))")
store.commit()
PY
}

# has_fields ID: they are still there on the principal ID, which has been written since.
has_fields() {
  python3 - "$HOME_DIR/signet.db" "$1" <<'PY'
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
found = store.execute("SELECT json_extract(body, '$.of_a_later_release.n') FROM principals WHERE pk = ?", (f"acme#{sys.argv[2]}",))
sys.exit(0 if found.fetchone() == (1,) else 1)
PY
}

# agent_of BIN: the agent of that release takes its identity over from whoever had it before, and renews it.
agent_of() {
  local agent=("$1/signet-agent" --config "$HOME_DIR/agent.toml") before=none
  [[ ! -s $HOME_DIR/web/key.pem ]] || before=$(sha256sum <"$HOME_DIR/web/key.pem")
  start_process agent "$HOME_DIR" "${agent[@]}" run
  wait_until 30 "${agent[@]}" status || die "the agent's identity is not well: $("${agent[@]}" status 2>&1)"
  "${agent[@]}" renew web
  # shellcheck disable=SC2329 # wait_until calls it
  renewed() { [[ -s $HOME_DIR/web/key.pem && $before != "$(sha256sum <"$HOME_DIR/web/key.pem")" ]]; }
  wait_until 30 renewed || die "the agent of ${1#"$ROOT/"} did not renew"
  stop_process agent "$HOME_DIR"
}

agent_config() {
  curl --silent --fail "http://127.0.0.1:$PUBLIC_PORT/v1/ca.pem" >"$HOME_DIR/root.pem"
  cat >"$HOME_DIR/agent.toml" <<TOML
state_dir = "agent"
[control_plane]
endpoint = "https://localhost:$GRPC_PORT"
server_name = "localhost"
ca_file = "root.pem"
[[identity]]
name = "web"
enroll = { join_token_file = "web.token" }
pem = { directory = "web" }
TOML
}

# beside FIRST SECOND: an environment made by FIRST, on which both releases act in every part.
beside() {
  local first=$1 second=$2 server client
  environment_dirs "$(mktemp -d "$LOCAL/versions/run.XXXXXX")"
  trap 'stop_process agent "$HOME_DIR" || true; stop_signetd || true' EXIT
  read -r GRPC_PORT PUBLIC_PORT METRICS_PORT < <(three_free_ports)
  "$first/principal" bootstrap --local "$HOME_DIR" --grpc-address "127.0.0.1:$GRPC_PORT" --seal-delay-seconds 2 \
    --public-address "127.0.0.1:$PUBLIC_PORT" --metrics-address "127.0.0.1:$METRICS_PORT" >"$HOME_DIR/bootstrap.log" 2>&1
  "$second/principal" bootstrap --config "$CONFIG" >>"$HOME_DIR/bootstrap.log" 2>&1
  run_server "$first"
  "$first/principal" tenant create acme --quiet
  "$first/principal" token create service --id web-1 --tenant acme --secret-file "$HOME_DIR/web.token" --quiet >/dev/null
  agent_config
  local number=0
  for server in "$first" "$second" "$first"; do
    run_server "$server"
    for client in "$first" "$second"; do
      number=$((number + 1))
      live "$client" "w-$number"
      # After four renewals in a row this release lets an instance wait.
      ((number > 4)) || agent_of "$client"
      [[ $number == 1 ]] || goes_on "$client" "w-$((number - 1))"
    done
  done
  add_fields
  run_server "$2"
  goes_on "$2" w-1
  if [[ $2 == "$NEW_BIN" ]]; then has_fields w-1 || die "this release lost what a later one had stored"; fi
  ends "$first" w-2
  ends "$second" w-3
  "$second/principal" audit verify --tenant acme --quiet >/dev/null || die "the audit log does not verify"
  stop_signetd
  rm -rf "$HOME_DIR"
}

nightly_versions() {
  local ref=${1:-$(git describe --tags --abbrev=0 2>/dev/null || true)} old
  [[ -n $ref || -n ${SIGNET_OLD_BIN:-} ]] || die "there is no tag yet: name the other release, as in 'scripts/nightly versions HEAD~50'"
  mkdir -p "$LOCAL/versions"
  NEW_BIN=$(build_binaries)
  old=${SIGNET_OLD_BIN:-$(old_binaries "$ref")}
  say "an environment of ${ref:-the other release}, and this one beside it"
  beside "$old" "$NEW_BIN"
  say "an environment of this release, and ${ref:-the other one} beside it"
  beside "$NEW_BIN" "$old"
  say "both releases act side by side"
}
