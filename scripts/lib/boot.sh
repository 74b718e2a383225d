# shellcheck shell=bash
# Sourced after common.sh, as root: boots a Debian that debootstrap or mmdebstrap made, with systemd, in namespaces of its own.

# boot_debian DEBIAN LOG SOURCE=NAME…: what it writes is in memory, and each folder SOURCE is /run/NAME there, not to be written.
# It ends with this script.
boot_debian() {
  local groups
  DEBIAN=$1
  # The kernel's control groups are shared: this one is ours, and all that systemd makes is below it.
  groups=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) || die "this kernel has no cgroup2 mounted"
  GROUP=$groups/signet-boot-$$
  WORLD=$(mktemp -d)
  INIT=
  trap end_debian EXIT
  mkdir "$GROUP"
  export -f debian_root
  export DEBIAN
  (
    echo "$BASHPID" >"$GROUP/cgroup.procs"
    # shellcheck disable=SC2016 # for the inner shell
    exec setsid unshare --mount --net --uts --ipc --cgroup --propagation private bash -euo pipefail -c '
      debian_root "$@"
      cd /
      exec unshare --pid --fork --kill-child --mount-proc="$1/root/proc" chroot "$1/root" \
        env -i container=signet PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
    ' boot "$WORLD" "${@:3}"
  ) >"$2" 2>&1 </dev/null &
  INIT=$!
  wait_until 60 inside systemctl is-active --quiet multi-user.target || die "it does not boot; see $2"
}

# debian_root FOLDER SOURCE=NAME…: in namespaces of its own, a root in memory over DEBIAN, as systemd wants it (its page
# CONTAINER_INTERFACE).
debian_root() {
  local device share root=$1/root
  mount -t tmpfs -o mode=755 signet-boot "$1"
  mkdir "$root" "$1/up" "$1/work"
  mount -t overlay overlay -o "lowerdir=$DEBIAN,upperdir=$1/up,workdir=$1/work" "$root"
  mount -t tmpfs -o mode=755 run "$root/run"
  mount -t tmpfs -o mode=755 dev "$root/dev"
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  for share in "${@:2}"; do
    mkdir "$root/run/${share##*=}"
    mount --bind -o ro "${share%=*}" "$root/run/${share##*=}"
  done
}

# inside COMMAND…: in the system that was booted.
inside() {
  local first
  first=$(pgrep --parent "$INIT" --exact systemd) || return 1
  nsenter --target "$first" --mount --uts --ipc --net --pid --cgroup --root --wd \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

end_debian() {
  local status=$?
  if [[ -n $INIT ]]; then
    # unshare ignores SIGTERM; its child ends with it.
    kill -KILL "$INIT" 2>/dev/null || true
    wait "$INIT" 2>/dev/null || true
  fi
  wait_until 10 find "$GROUP" -depth -type d -exec rmdir {} + || say "$GROUP is still there: something runs in it"
  rmdir "$WORLD"
  exit "$status"
}
