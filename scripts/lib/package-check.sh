# shellcheck shell=bash
# Sourced after package.sh, cargo.sh and signet.sh: whether what was packed is what it should be.

# An image may be this large, as registries keep it and nodes fetch it.
IMAGE_MB=30

# check_reproducible BINARY…: our crates again, from a copy of the sources in a folder of another name and depth.
# The libraries from the registry are not built again: sources, path and compiler are the same for them anyway.
check_reproducible() {
  local elsewhere again built name file
  elsewhere=$(mktemp -d "${TMPDIR:-/tmp}/signet-elsewhere.XXXXXX")/a/b
  again=$elsewhere/dist
  mkdir -p "$elsewhere/sources"
  say "building again in $elsewhere …"
  # shellcheck disable=SC2153 # ROOT is from common.sh
  git -C "$ROOT" ls-files -z -co --exclude-standard | tar -C "$ROOT" -c --null --files-from=- | tar -C "$elsewhere/sources" -x
  forget_our_crates
  built=$(compile "$elsewhere/sources" "$@") || {
    forget_our_crates
    exit 1
  }
  # Cargo goes by the time of files: what it knows of the copy must not count for the sources here.
  forget_our_crates
  pack "$built" "$again" "$@"
  for name in "$@"; do
    [[ $built/$name -nt $DIST/$name-$ARCH.cdx.json ]] || die "cargo did not build $name again"
    cmp "$DIST/$name-$ARCH.cdx.json" "$again/$name-$ARCH.cdx.json" || die "the bill of $name is not the same in $elsewhere"
  done
  while read -r file; do
    cmp "$DIST/$file" "$again/$file" || die "$file is not the same when built in $elsewhere"
  done < <(files_of "$@")
  rm -rf "${elsewhere%/a/b}"
}

# forget_our_crates: the next build compiles them again.
forget_our_crates() {
  rm -rf "$(target_dir)/$(rust_target)"/release/.fingerprint/signet-* "$(target_dir)"/release/.fingerprint/signet-*
}

# check_bills BINARY…: against CycloneDX's own schema, as its reference library has it.
check_bills() {
  local name
  ensure_venv sbom "$SBOM_PACKAGE"
  for name in "$@"; do
    "$LOCAL/tools/sbom/bin/python" - "$DIST/$name-$ARCH.cdx.json" <<'PYTHON'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(f"{sys.argv[1]}: {error}" if error else 0)
PYTHON
  done
}

# check_image: two foreign tools read it, and its signetd serves as the image's user, on a read-only root.
check_image() {
  local image=$DIST/signetd-$ARCH.oci.tar work
  need_debian skopeo
  need_debian umoci
  work=$(mktemp -d "${TMPDIR:-/tmp}/signet-image.XXXXXX")
  skopeo inspect "oci-archive:$image" >"$work/inspect.json"
  mkdir "$work/layout"
  tar -C "$work/layout" -xf "$image"
  umoci unpack --image "$work/layout:$(version)" "$work/bundle" >"$work/umoci.log" 2>&1 || die "umoci: $(cat "$work/umoci.log")"
  check_content "$image" "$work/bundle/rootfs"
  if [[ $ARCH == "$(uname -m | sed s/aarch64/arm64/)" ]]; then
    (run_image "$work") || die "the image does not run; see $work"
  else
    say "an image for $ARCH does not run on this machine"
  fi
  rm -rf "$work"
}

check_content() {
  (($(stat -c %s "$1") <= IMAGE_MB * 1000000)) || die "$1 is larger than $IMAGE_MB MB"
  [[ -z $(find "$2" -perm /6000) ]] || die "the image holds set-user-id files"
}

# run_image WORK: an environment on SQLite is the image's only writable folder.
run_image() {
  local root=$1/bundle/rootfs
  [[ $(id -u) == 0 ]] || die "starting the image takes root, for a mount and a change of user"
  # shellcheck disable=SC2034 # for signet
  BIN=$(build_binaries)
  environment_dirs "$1/data"
  read -r GRPC_PORT PUBLIC_PORT METRICS_PORT < <(three_free_ports)
  signet bootstrap --local "$HOME_DIR" --grpc-address "127.0.0.1:$GRPC_PORT" --public-address "127.0.0.1:$PUBLIC_PORT" \
    --metrics-address "127.0.0.1:$METRICS_PORT" >"$1/bootstrap.log"
  chown -R 65532:65532 "$HOME_DIR"
  trap 'stop_process signetd "$HOME_DIR"' EXIT
  # shellcheck disable=SC2016 # sh expands them
  start_process signetd "$HOME_DIR" unshare --mount sh -euc '
    mount --bind "$1" "$1"
    mount --bind "$2" "$1/var/lib/signet"
    mount -o remount,bind,ro "$1"
    exec chroot --userspec=65532:65532 "$1" /usr/bin/signetd --config /var/lib/signet/signet.toml' - "$root" "$HOME_DIR"
  wait_until 20 signetd_ready || die "it did not get ready: $(tail -n 5 "$HOME_DIR/signetd.log")"
  signet whoami --quiet >/dev/null
  say "signetd from the image serves as user $(ps -o uid= -p "$(cat "$HOME_DIR/signetd.pid")" | tr -d ' ') in $(resident) MB"
}

resident() { ps -o rss= -p "$(cat "$HOME_DIR/signetd.pid")" | awk '{ printf "%.1f", $1 / 1000 }'; }
