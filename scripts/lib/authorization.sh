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

authorization() {
  local since judges solver
  judges=$(judges_dir)
  export SIGNET_AUTHORIZATION__SOLVER=$judges/cvc5 HOME=$HOME_DIR PATH=$BIN:$PATH
  printf '\nA job service that lets in whom the rules allow\n\n'
  step "examples/job-service/README.md, word by word"
  cd examples/job-service
  follow_page README.md
  cd "$ROOT"

  step "a worker follows events, and is suspended"
  follow_events w-1
  since=$(date +%s%3N)
  signet suspend w-1 --tenant acme --yes --quiet
  shows "its open stream was cut after $(open_stream_ends "$since") ms: $(tail -n 1 "$HOME_DIR/w-1.events")"
  signet activate w-1 --tenant acme --quiet

  step "its type loses the permission while it follows"
  wait_until 5 jobs_as w-1 dequeue || [[ $(jobs_as w-1 dequeue 2>&1) == *"no job waits"* ]] || die "the worker is not let in again"
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
  refused 7 signet authz diff "$HOME_DIR/bad.toml" --tenant acme
  signet authz diff "$HOME_DIR/bad.toml" --tenant acme 2>&1 | sed -n '/REFUTED/,$p' | head -n 12 | sed 's/^/               /'
  if signet authz apply "$HOME_DIR/bad.toml" --tenant acme --quiet 2>"$HOME_DIR/bad.log"; then die "a refuted policy was set"; fi
  shows "$(head -n 1 "$HOME_DIR/bad.log")"
}
