# shellcheck shell=bash
# Sourced after common.sh and process.sh: the .proto files against buf, which needs no server of anybody's for it.

BUF=@bufbuild/buf@1.75.0

# buf_command: installs it once below .local/tools and prints its path.
buf_command() {
  # Bash clears it in $(…), and one that is not there would be called.
  set -e
  with_lock "$LOCAL/tools/buf.lock" make_buf "$LOCAL/tools/buf"
  echo "$LOCAL/tools/buf/node_modules/.bin/buf"
}

make_buf() {
  local dir=$1
  [[ $(cat "$dir/version" 2>/dev/null) != "$BUF" ]] || return 0
  need npm "buf comes from the npm registry (Debian: apt-get install npm)."
  say "installing $BUF (once) …"
  rm -rf "$dir"
  mkdir -p "$dir"
  npm_get install --prefix "$dir" "$BUF"
  echo "$BUF" >"$dir/version"
}

# check_wire: the style of the .proto files, and that nothing breaks whoever was built with those of a release.
check_wire() {
  local buf release
  buf=$(buf_command)
  "$buf" lint proto || die "proto/README.md says what these rules are for"
  for release in proto/released/*.binpb; do
    "$buf" breaking proto --against "$release" ||
      die "that breaks callers of $release: proto/README.md says what may change within v1"
  done
}
