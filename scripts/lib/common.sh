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

# need COMMAND HINT: the command must be on this machine.
need() {
  command -v "$1" >/dev/null || die "'$1' is not installed. $2"
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
