# shellcheck shell=bash
# Run by scripts/install-round in namespaces of its own: WORK/images has the roots of the images, WORK/deployments what to run in them.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. scripts/lib/common.sh
: "${WORK:?set by scripts/install-round}"

says() { "$@" >"$WORK/words" 2>&1 || die "'$*' failed: $(tail -n 20 "$WORK/words")"; }

# mounted IMAGE SOURCE=PATH…: the image's root, not to be written, with folders of this machine at these paths of it.
mounted() {
  local root=$WORK/images/$1 share
  while mountpoint --quiet "$root"; do umount --recursive "$root"; done
  mount --bind "$root" "$root"
  mount --rbind /dev "$root/dev"
  mount -t proc proc "$root/proc"
  for share in "${@:2}"; do mount --bind "${share%%=*}" "$root/${share#*=}"; done
  mount -o remount,bind,ro "$root"
}

# run IMAGE COMMAND…: as its user, with its environment. start: in the background, as PID.
run() {
  as_container "$@"
  "${CONTAINER[@]}"
}
start() {
  as_container "$@"
  exec "${CONTAINER[@]}" &
  PID=$!
}
as_container() {
  local root=$WORK/images/$1 environment words
  read -ra environment < <(head -n 1 "$root.config")
  read -ra words < <(tail -n 1 "$root.config")
  shift
  [[ $1 != ENTRYPOINT ]] || set -- "${words[0]}" "${@:2}"
  CONTAINER=(env -i HOME=/ "${environment[@]}" /usr/sbin/chroot --userspec=65532:65532 "$root" "$@")
}

# service FILE NAME: its command as FILE has it, in COMMAND.
service() {
  local line
  line=$(sed -n "s/^$2 //p" "$1")
  [[ -n $line ]] || die "$1 has no $2"
  read -ra COMMAND <<<"$line"
}

# serve FILE: its `bootstrap`, twice, since a container is made again; then its `signetd`.
serve() {
  local _
  service "$1" bootstrap
  for _ in 1 2; do says run signet "${COMMAND[@]}"; done
  if grep -q created "$WORK/words"; then die "a second bootstrap made something: $(cat "$WORK/words")"; fi
  service "$1" signetd
  start signet "${COMMAND[@]}" >"$WORK/signetd.log" 2>&1
  wait_until 30 run signet /usr/bin/principal whoami ||
    die "signetd does not serve: $(run signet /usr/bin/principal whoami 2>&1) $(tail -n 5 "$WORK/signetd.log")"
  says run signet /usr/bin/principal tenant create acme
}

# stop PID LOG: it ends by itself.
stop() {
  kill -TERM "$1"
  wait "$1" || die "it ends with $?: $(tail -n 5 "$2")"
}

volume() {
  rm -rf "${WORK:?}/$1"
  install -d -o 65532 -g 65532 -m 750 "$WORK/$1"
}

compose() {
  volume state
  mounted signet "$WORK/state=var/lib/signet"
  serve "$WORK/deployments/compose.commands"
  stop "$PID" "$WORK/signetd.log"
  say "the image of Compose serves"
}

kubernetes() {
  local config=$WORK/agent-config signetd path
  volume state
  rm -rf "$WORK/passphrase" "$config"
  install -d "$WORK/passphrase" "$config" "$config/anchor" "$config/token"
  head -c 32 /dev/urandom | base64 >"$WORK/passphrase/passphrase"
  # As fsGroup has it.
  chown 0:65532 "$WORK/passphrase/passphrase"
  chmod 440 "$WORK/passphrase/passphrase"
  mounted signet "$WORK/state=var/lib/signet" "$WORK/deployments/sqlite=etc/signet" "$WORK/passphrase=run/signet/passphrase"
  serve "$WORK/deployments/kubernetes.commands"
  for path in 8080/readyz 8081/healthz 8081/readyz 9464/metrics; do says curl --silent --fail "http://127.0.0.1:$path"; done
  say "the image of Kubernetes serves"
  run signet /usr/bin/principal ca bundle --server >"$config/anchor/anchor.pem"
  says run signet /usr/bin/principal token create service --id api --tenant acme --secret-file /var/lib/signet/token
  cp "$WORK/state/token" "$config/token/token"
  chown 65532 "$config/token/token"
  # No cluster signs tokens here: a join token is the proof.
  sed 's/oidc_token_file = \(".*"\), tenant = "acme"/join_token_file = \1/' "$WORK/deployments/agent-sidecar/agent.toml" >"$config/agent.toml"
  grep -q join_token_file "$config/agent.toml" || die "the sidecar's configuration has no proof"
  volume agent
  mounted signet-agent "$WORK/agent=var/lib/signet-agent" "$config=etc/signet" "$config/anchor=etc/signet-anchor" "$config/token=var/run/secrets/signet"
  read -ra COMMAND < <(tail -n 1 "$WORK/images/signet-agent.config")
  signetd=$PID
  start signet-agent "${COMMAND[@]}" >"$WORK/agent.log" 2>&1
  wait_until 30 run signet-agent /usr/bin/signet-agent status || die "the agent has no certificate: $(tail -n 5 "$WORK/agent.log")"
  says openssl verify -CAfile "$WORK/agent/api/bundle.pem" -untrusted "$WORK/agent/api/cert.pem" "$WORK/agent/api/cert.pem"
  stop "$PID" "$WORK/agent.log"
  stop "$signetd" "$WORK/signetd.log"
  say "the agent's image gets a certificate"
}

ip link set lo up
compose
kubernetes
