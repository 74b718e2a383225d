# shellcheck shell=bash
# Sourced after process.sh: Python packages in environments of their own below .local/tools.

# ensure_venv NAME REQUIREMENT…: makes $LOCAL/tools/NAME, once, and again when the requirements change.
ensure_venv() {
  local name=$1
  shift
  with_lock "$LOCAL/tools/$name.lock" make_venv "$LOCAL/tools/$name" "$*" "$@"
}

# ensure_locked_venv NAME FILE: the same from a file that has a digest of each package.
ensure_locked_venv() {
  with_lock "$LOCAL/tools/$1.lock" make_venv "$LOCAL/tools/$1" "${2#"$ROOT/"} $(sha256sum <"$2")" --require-hashes --requirement "$2"
}

# make_venv DIR WHAT ARGUMENT…: WHAT tells one set of requirements from another.
make_venv() {
  local dir=$1 what=$2
  shift 2
  [[ $(cat "$dir/requirements" 2>/dev/null) == "$what" ]] && return 0
  need python3 "Install Python 3.10 or newer with its venv module (Debian: apt-get install python3-venv)."
  say "installing $what (once, about a minute) …"
  rm -rf "$dir"
  python3 -m venv "$dir" || die "python3 -m venv failed (Debian: apt-get install python3-venv)"
  "$dir/bin/pip" install --quiet --disable-pip-version-check "$@" || die "pip could not install $what; is the package index reachable?"
  echo "$what" >"$dir/requirements"
}
