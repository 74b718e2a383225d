# shellcheck shell=bash
# Sourced by scripts/nightly: every fuzz target for a while, from the kept corpus.

CARGO_FUZZ=0.13.2

# cargo_fuzz: installs cargo-fuzz once below .local/cargo and prints its path.
cargo_fuzz() {
  local bin=$LOCAL/cargo/bin/cargo-fuzz
  if [[ $("$bin" --version 2>/dev/null) != "cargo-fuzz $CARGO_FUZZ" ]]; then
    say "installing cargo-fuzz $CARGO_FUZZ (once, about two minutes) …"
    CARGO_TARGET_DIR=$LOCAL/cargo/target cargo install --quiet --locked --debug --root "$LOCAL/cargo" "cargo-fuzz@$CARGO_FUZZ" >&2 ||
      die "cargo could not install cargo-fuzz"
    rm -rf "$LOCAL/cargo/target"
  fi
  echo "$bin"
}

# nightly_fuzz [MINUTES]: what a target finds goes on from night to night in .local/fuzz; the kept corpus stays as it is.
nightly_fuzz() {
  local minutes=${1:-1} fuzz target
  [[ $minutes =~ ^[1-9][0-9]*$ ]] || die "minutes are a number: $minutes"
  rustc +nightly --version >/dev/null 2>&1 || die "libFuzzer needs a nightly toolchain: rustup toolchain install nightly --profile minimal"
  fuzz=$(cargo_fuzz)
  # The workspace's versions, and no second list of them to keep.
  cp Cargo.lock fuzz/Cargo.lock
  # Our code is without `unsafe`: panics and broken laws are what is looked for, and without a sanitizer more is tried.
  RUSTUP_TOOLCHAIN=nightly "$fuzz" build --sanitizer none || die "the fuzz targets do not build"
  for target in fuzz/corpus/*/; do
    target=$(basename "$target")
    mkdir -p "$LOCAL/fuzz/$target"
    say "fuzz $target, $minutes min …"
    RUSTUP_TOOLCHAIN=nightly "$fuzz" run --sanitizer none "$target" "$LOCAL/fuzz/$target" "fuzz/corpus/$target" -- \
      -max_total_time=$((minutes * 60)) -max_len=8192 -timeout=10 -print_final_stats=1 >"$LOCAL/fuzz/$target.log" 2>&1 ||
      die "$target found something: $(grep --max-count=1 'Test unit written' "$LOCAL/fuzz/$target.log" || tail -n 1 "$LOCAL/fuzz/$target.log")
mend it, and put the input into fuzz/corpus/$target under a name that says what it is"
  done
  say "nothing found"
}
