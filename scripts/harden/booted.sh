# shellcheck shell=bash
# Run by scripts/harden/boot, in a Debian that was booted for it.
set -euo pipefail
[[ $(tr '\0' '\n' </proc/1/environ) == *container=signet* ]] ||
  { echo "this would harden the machine that it runs on: use scripts/harden/boot" >&2 && exit 1; }
cd /run/signet
# shellcheck source=scripts/lib/common.sh
. scripts/lib/common.sh
HARDEN=scripts/harden/harden
AS_SIGNET='runuser -u signet -- env HOME=/var/lib/signet'

says() { "$@" >/tmp/words 2>&1 || die "'$*' failed: $(tail -n 20 /tmp/words)"; }

# sandboxed UNIT: its process has no new privileges and a filter of system calls.
sandboxed() {
  local status
  status=$(<"/proc/$(systemctl show --property MainPID --value "$1")/status")
  [[ $status == *'NoNewPrivs:'?1* && $status == *'Seccomp:'?2* ]] || die "$1 runs without its sandbox: $status"
}

# node: as the runbooks have it, /etc/signet/signet.toml and the rest below /var/lib/signet.
node() {
  adduser --quiet --system --group --home /var/lib/signet signet
  mkdir -p /etc/signet
  # shellcheck disable=SC2086 # a command
  (cd /var/lib/signet && says $AS_SIGNET principal bootstrap --local /var/lib/signet/node)
  sed -E 's#^(path|dir|passphrase_file) = "#&/var/lib/signet/node/#' /var/lib/signet/node/signet.toml >/etc/signet/signet.toml
  printf '\n[bans]\nfailed_handshakes = 3\nlog_file = "/var/log/signet/bans.log"\n' >>/etc/signet/signet.toml
  says systemctl start signetd
  wait_until 30 curl --silent --fail http://127.0.0.1:8080/readyz || die "signetd is not ready: $(journalctl --unit signetd --lines 20)"
  sandboxed signetd
}

# agent: enrolls, writes files for another user, and runs a command as that user and one of systemd.
agent() {
  # shellcheck disable=SC2086 # a command
  says $AS_SIGNET principal tenant create acme
  # shellcheck disable=SC2086 # a command
  says $AS_SIGNET principal token create worker --id w-1 --tenant acme --secret-file /var/lib/signet/token
  cp /var/lib/signet/token /var/lib/signet/node/server/root.pem /etc/signet
  cat >/etc/signet/agent.toml <<'TOML'
state_dir = "/var/lib/signet-agent"
[control_plane]
endpoint = "https://localhost:8443"
ca_file = "/etc/signet/root.pem"
[[identity]]
name = "web"
enroll = { join_token_file = "/etc/signet/token", principal = "w-1" }
pem = { directory = "/etc/signet/web", key = { mode = "0640", group = "www-data" } }
exec = { command = ["/bin/sh", "-c", "runuser -u www-data -- id -un >/etc/signet/ran && systemctl try-reload-or-restart ssh"], timeout_seconds = 30 }
TOML
  says timeout 60 systemctl start signet-agent
  sandboxed signet-agent
  says signet-agent --config /etc/signet/agent.toml status
  [[ $(</etc/signet/ran) == www-data ]] || die "the agent's command did not run"
  [[ $(stat --dereference --format %a:%G /etc/signet/web/key.pem) == 640:www-data ]] || die "the key has another mode"
}

handshake() { openssl s_client -connect 127.0.0.1:8443 "$@" </dev/null 2>&1; }

# ban: a client that fails is dropped by the firewall.
ban() {
  ip address add 127.0.2.1/8 dev lo
  says openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x -keyout /tmp/key -out /tmp/certificate
  for _ in 1 2 3; do handshake -bind 127.0.2.1:0 -cert /tmp/certificate -key /tmp/key -alpn h2 >/dev/null || true; done
  wait_until 20 banned || die "fail2ban does not ban whom signetd bans: $(cat /var/log/signet/bans.log; tail -n 5 /var/log/fail2ban.log)"
}
banned() { nft list set inet f2b-table addr-set-signet | grep -qF 127.0.2.1; }

printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(hostname)" >/etc/hosts
ip link set lo up
# What the kernel has besides the network is that of the machine: others stand in for it.
mount -t tmpfs stand-in /proc/sys/kernel
mkdir /proc/sys/kernel/yama
echo 0 | tee /proc/sys/kernel/yama/ptrace_scope /proc/sys/kernel/kptr_restrict >/dev/null
cp /run/bin/{signetd,principal,signet-agent} /usr/bin
cp services/control-plane/signetd.service services/agent/signet-agent.service /etc/systemd/system
useradd --create-home --shell /bin/bash alice
groupadd --force sudo
usermod --append --groups sudo alice
mkdir /home/alice/.ssh
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice' >/home/alice/.ssh/authorized_keys

# Debian's own fail2ban does not start here: that it does afterwards is ours.
if systemctl is-active --quiet fail2ban; then die "fail2ban runs already: the test proves less than it says"; fi
says $HARDEN apply --ssh-from 127.0.0.0/8 --yes
systemctl is-active --quiet fail2ban ssh || die "fail2ban or ssh does not run"
node
agent
says $HARDEN check
WORDS=$(handshake -tls1_2) && die "TLS 1.2 is spoken"
[[ $WORDS == *'alert protocol version'* ]] || die "TLS 1.2 is refused in another way: $WORDS"
ban
# All rules loaded again: ours are there, fail2ban's are told to be missing.
says systemctl restart nftables
WORDS=$($HARDEN check) && die "nobody misses the bans"
[[ $WORDS == *'bans in the kernel'*'systemctl restart fail2ban'* && $WORDS != *'rules in the kernel'* ]] || die "$WORDS"
says systemctl restart fail2ban
wait_until 20 banned || die "the ban is lost"
says $HARDEN check
says $HARDEN undo --yes
[[ ! -e /etc/nftables.d && ! -e /var/lib/signet-harden ]] || die "undo left files"
systemctl is-active --quiet signetd signet-agent ssh || die "a service has ended"
say "all passed in $SECONDS s"
