# shellcheck shell=bash
# Sourced by the scripts: where things are, how they speak, how they wait. The caller has set -euo pipefail.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# Everything that scripts install, write or remember; git ignores it.
# shellcheck disable=SC2034 # for the scripts that source this
LOCAL=$ROOT/.local

# say TEXT…: progress, for people, on standard error.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die TEXT…: what is wrong and what to do next.
die() {
  say "error: $*"
  exit 1
}

# npm_get ARGUMENT…: npm, which waits for ever for a registry whose certificate Node.js does not trust.
npm_get() {
  local log status=0
  log=$(mktemp)
  timeout 300 npm --no-audit --no-fund --ignore-scripts "$@" >/dev/null 2>"$log" || status=$?
  if [[ $status == 124 ]]; then
    die "npm got no answer within five minutes: is its registry reachable, and does Node.js trust it (NODE_EXTRA_CA_CERTS)?"
  fi
  [[ $status == 0 ]] || die "npm $* failed: $(tail -n 5 "$log")"
  rm -f "$log"
}

# need COMMAND HINT: the command must be on this machine.
need() {
  command -v "$1" >/dev/null || die "'$1' is not installed. $2"
}

# need_debian PACKAGE [FILE]: a command of the same name, or that file, from Debian, which root gets at once.
need_debian() {
  if [[ -n ${2:-} ]]; then [[ ! -e $2 ]] || return 0; elif command -v "$1" >/dev/null; then return 0; fi
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    die "'${2:-$1}' is not installed (Debian: apt-get install $1)."
  fi
  say "installing $1 from Debian …"
  # Rounds run side by side, and apt-get does not wait for another.
  { flock 8 && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$1" 8>&-; } \
    >"${TMPDIR:-/tmp}/apt-$1.log" 2>&1 8>"${TMPDIR:-/tmp}/signet-apt.lock" ||
    die "apt-get could not install $1; see ${TMPDIR:-/tmp}/apt-$1.log"
}

# wait_until SECONDS COMMAND…: polls until the command succeeds; fails when the time is up.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# port_is_free PORT: nothing listens there on 127.0.0.1.
port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
