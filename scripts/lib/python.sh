# shellcheck shell=bash
# Sourced after process.sh: Python packages in environments of their own below .local/tools.

# ensure_venv NAME REQUIREMENT…: makes $LOCAL/tools/NAME, once, and again when the requirements change.
ensure_venv() {
  local name=$1
  shift
  with_lock "$LOCAL/tools/$name.lock" make_venv "$LOCAL/tools/$name" "$@"
}

make_venv() {
  local dir=$1
  shift
  [[ $(cat "$dir/requirements" 2>/dev/null) == "$*" ]] && return 0
  need python3 "Install Python 3.10 or newer with its venv module (Debian: apt-get install python3-venv)."
  say "installing $* (once, about a minute) …"
  rm -rf "$dir"
  python3 -m venv "$dir" || die "python3 -m venv failed (Debian: apt-get install python3-venv)"
  "$dir/bin/pip" install --quiet --disable-pip-version-check "$@" || die "pip could not install $*; is the package index reachable?"
  echo "$*" >"$dir/requirements"
}
