# shellcheck shell=bash
# Sourced after common.sh: Rust tools and our own binaries.

CARGO_DENY=0.20.2

# cargo_deny: installs cargo-deny once below .local/cargo (a minute and a half) and prints its path.
cargo_deny() {
  local bin=$LOCAL/cargo/bin/cargo-deny
  if [[ $("$bin" --version 2>/dev/null) != "cargo-deny $CARGO_DENY" ]]; then
    say "installing cargo-deny $CARGO_DENY (once, about two minutes) …"
    CARGO_TARGET_DIR=$LOCAL/cargo/target cargo install --quiet --locked --debug --root "$LOCAL/cargo" "cargo-deny@$CARGO_DENY" >&2 ||
      die "cargo could not install cargo-deny"
    rm -rf "$LOCAL/cargo/target"
  fi
  echo "$bin"
}

# build_binaries: `signetd` and `principal`, as the tests build them; prints their folder. SIGNET_BIN names one with others.
build_binaries() {
  if [[ -n ${SIGNET_BIN:-} ]]; then
    echo "$SIGNET_BIN"
    return
  fi
  say "building (the first time about six minutes) …"
  cargo build --workspace --bins --quiet >&2 || die "the build failed; its errors are above"
  echo "${CARGO_TARGET_DIR:-$ROOT/target}/debug"
}

# build_plugin: Mosquitto's, beside those.
build_plugin() {
  [[ -n ${SIGNET_BIN:-} ]] || cargo build --workspace --lib --quiet >&2 || die "the build failed; its errors are above"
}

# build_release: the same as they are shipped, and `signet-bench`; prints their folder. The whole workspace, like the
# tests: cargo then settles on the same features of every crate, so that what is measured is what runs.
build_release() {
  say "building for release (the first time about ten minutes) …"
  cargo build --workspace --bins --release --quiet >&2 || die "the build failed; its errors are above"
  echo "${CARGO_TARGET_DIR:-$ROOT/target}/release"
}
