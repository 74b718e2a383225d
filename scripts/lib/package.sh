# shellcheck shell=bash
# Sourced after common.sh, process.sh and python.sh: builds our binaries as they are shipped, and packs them.
# Callers set ARCH (x86_64 or arm64) and DIST (the folder that gets the files).

# Mozilla's CA certificates, pinned, so that an image does not depend on the machine that packed it.
CA_PACKAGE=certifi==2026.10.18
# An independent judge of the bills of materials.
# shellcheck disable=SC2034 # for package-check.sh
SBOM_PACKAGE='cyclonedx-python-lib[json-validation]==11.12.0'

rust_target() {
  case $ARCH in
    x86_64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    *) die "--arch is x86_64 or arm64, not '$ARCH'" ;;
  esac
}

# need_target: this machine can compile and link for ARCH.
need_target() {
  local target
  target=$(rust_target)
  [[ -d $(rustc --print sysroot)/lib/rustlib/$target/lib ]] ||
    die "Rust's standard library for $ARCH is not installed: rustup target add $target"
  if [[ $target != "$(rustc -vV | sed -n 's/^host: //p')" ]]; then
    need "${target/-unknown/}-gcc" "Install a C cross compiler (Debian: apt-get install gcc-${target/-unknown/} libc6-dev-arm64-cross)."
  fi
}

target_dir() { echo "${CARGO_TARGET_DIR:-$ROOT/target}"; }

# compile SOURCES BINARY…: static binaries, from the sources in that folder; prints the folder with them.
# No path of this machine gets in: rustc and the C compiler write others in their place, and with them the bytes are the same everywhere.
compile() {
  local sources=$1 target name binaries=() cargo_home=${CARGO_HOME:-$HOME/.cargo}
  shift
  target=$(rust_target)
  for name in "$@"; do binaries+=(--bin "$name"); done
  (
    cd "$sources" || exit 1
    export CARGO_TARGET_DIR CARGO_INCREMENTAL=0
    CARGO_TARGET_DIR=$(target_dir)
    # A static C library: the same file runs on any Linux, in an empty image and on AWS Lambda.
    export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS=-C target-feature=+crt-static \
--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$CARGO_TARGET_DIR=/target"
    export "CFLAGS_${target//-/_}=-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target"
    [[ $ARCH == x86_64 ]] || export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=${target/-unknown/}-gcc"
    # The whole workspace, as the tests build it, for the same features of every crate.
    cargo build --quiet --locked --release --target "$target" --workspace "${binaries[@]}" >&2
  ) || die "the build failed; its errors are above"
  echo "$(target_dir)/$target/release"
}

# stripped FOLDER BINARY…: copies of the binaries there, built for this machine, without debug information; prints their folder.
stripped() {
  local folder=$1 name
  shift
  [[ $(rust_target) == "$(rustc -vV | sed -n 's/^host: //p')" ]] || die "--debug packs what the tests run, which is built for this machine"
  mkdir -p "$LOCAL/package/debug"
  for name in "$@"; do strip -o "$LOCAL/package/debug/$name" "$folder/$name"; done
  echo "$LOCAL/package/debug"
}

# crate_of BINARY: the package that it comes from.
crate_of() {
  case $1 in
    signetd) echo signet-control-plane ;;
    *) echo "$1-lambda" ;;
  esac
}

# file_of BINARY: what it is packed into.
file_of() {
  case $1 in
    signetd) echo "signetd-$ARCH.oci.tar" ;;
    *) echo "$1-$ARCH.zip" ;;
  esac
}

# pack FOLDER OUT BINARY…: packs the binaries in FOLDER into OUT, with a bill of materials beside each.
pack() {
  local folder=$1 out=$2 name
  shift 2
  mkdir -p "$out"
  for name in "$@"; do
    if [[ $name == signetd ]]; then
      python3 "$ROOT/scripts/lib/pack.py" image "$out/$(file_of "$name")" "$folder/$name" "$ARCH" "$(version)" "$(ca_bundle)"
    else
      python3 "$ROOT/scripts/lib/pack.py" zip "$out/$(file_of "$name")" "$folder/$name" bootstrap
    fi
    bill_of_materials "$name" >"$out/$name-$ARCH.cdx.json"
  done
}

version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

ca_bundle() {
  ensure_venv ca-bundle "$CA_PACKAGE"
  "$LOCAL/tools/ca-bundle/bin/python" -m certifi
}

bill_of_materials() {
  local metadata=$LOCAL/package/metadata-$ARCH.json
  mkdir -p "$LOCAL/package"
  (cd "$ROOT" && cargo metadata --locked --format-version 1 --filter-platform "$(rust_target)") >"$metadata"
  python3 "$ROOT/scripts/lib/sbom.py" "$metadata" "$ROOT/Cargo.lock" "$(crate_of "$1")" "$(glibc_version)"
}

glibc_version() { ldd --version | sed -n '1s/.* //p'; }

# sizes FOLDER BINARY…: a table, in MB as AWS counts them.
sizes() {
  local folder=$1 name
  shift
  printf '%-28s %9s %9s  %s\n' file "MB" "unpacked" sha256
  for name in "$@"; do
    printf '%-28s %9s %9s  %s\n' "$(file_of "$name")" "$(megabytes "$DIST/$(file_of "$name")")" "$(megabytes "$folder/$name")" \
      "$(sha256sum "$DIST/$(file_of "$name")" | cut -c1-16)…"
  done
}

megabytes() { awk -v bytes="$(stat -c %s "$1")" 'BEGIN { printf "%.1f", bytes / 1000000 }'; }
