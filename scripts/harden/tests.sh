# shellcheck shell=bash
# Run by scripts/harden/test, as the first process of a Debian root whose writes nobody keeps.
set -euo pipefail
[[ $$ == 1 && -d /run/image ]] || { echo "this would harden the machine that it runs on: use scripts/harden/test" >&2 && exit 1; }
cd /run/signet
# shellcheck source=scripts/lib/common.sh
. scripts/lib/common.sh
IMAGE=/run/image
SSH_FROM=10.9.0.0/24,fd09::/48

fail() { die "${FUNCNAME[1]}, line ${BASH_LINENO[0]}: $*"; }

peer() { ip netns exec peer "$@"; }

# harden ARGUMENT…: its exit code is in STATUS, its words in WORDS.
harden() {
  STATUS=0
  WORDS=$(scripts/harden/harden "$@" 2>&1 </dev/null) || STATUS=$?
}

# expect STATUS [PATTERN]: of the last harden.
expect() {
  [[ $STATUS == "$1" ]] || fail "exit code $STATUS, not $1 (called from line ${BASH_LINENO[0]}): $WORDS"
  [[ $STATUS == 2 || ! $WORDS =~ 'this failed' ]] || fail "a command failed and nobody cared: $WORDS"
  [[ -z ${2:-} || $WORDS =~ $2 ]] || fail "no '$2' (called from line ${BASH_LINENO[0]}) in: $WORDS"
}

apply() { harden apply "$@" --yes; }

# snapshot ROOT: every byte, owner, mode and time of what harden may write.
snapshot() {
  (
    cd "$1"
    find etc var/lib var/log -path var/lib/apt -prune -o -type d -printf '%p %m %u %g\n' -o -printf '%p %m %u %g %T@ %l\n'
    find etc -type f -exec sha256sum {} +
  ) | LC_ALL=C sort
}

# --- the network: this host, and a peer with two addresses of each family

network() {
  ip link set lo up
  ip netns add peer
  ip link add host0 type veth peer name peer0 netns peer
  ip address add 10.9.0.1/24 dev host0
  ip address add fd09::1/64 dev host0 nodad
  ip address add fd09:0:0:1::1/64 dev host0 nodad
  ip link set host0 up
  peer ip address add 10.9.0.2/24 dev peer0
  peer ip address add 10.9.0.3/24 dev peer0
  peer ip address add 10.9.0.4/24 dev peer0
  peer ip address add fd09::2/64 dev peer0 nodad
  peer ip address add fd09:0:0:1::2/64 dev peer0 nodad
  peer ip link set peer0 up
  # Echo on ports of sshd, signetd, the gateway, and of what nobody meant to show.
  python3 -c '
import socketserver, socket, threading
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = socket.AF_INET6, True, True
for port in (22, 8443, 9443, 9100):
    threading.Thread(target=Server(("::", port), Echo).serve_forever).start()
' &
  wait_until 10 answers 10.9.0.2 10.9.0.1 9100 || fail "no server"
}

# answers FROM TO PORT: whether an echo comes back; closed FROM TO PORT: whether none does for half a second.
answers() { echoes 5 "$@"; }
closed() { ! echoes 0.5 "$@"; }

echoes() {
  peer python3 -c '
import socket, sys
seconds, source, to, port = sys.argv[1:]
with socket.create_connection((to, int(port)), float(seconds), (source, 0)) as connection:
    connection.sendall(b"x\n")
    sys.exit(connection.recv(9) != b"x\n")' "$@" 2>/dev/null
}

# hold PORT: a connection of the peer that stays open; still_open says whether it lives.
hold() {
  coproc HELD { exec ip netns exec peer python3 -u -c '
import socket, sys
connection = socket.create_connection(("10.9.0.1", int(sys.argv[1])), 3)
connection.settimeout(3)
for line in sys.stdin:
    connection.sendall(line.encode())
    print(connection.recv(99).decode(), end="")' "$1"; }
  still_open
}

still_open() {
  local line
  echo here >&"${HELD[1]}"
  read -rt 4 line <&"${HELD[0]}" && [[ $line == here ]]
}

let_go() {
  kill "$HELD_PID"
  wait "$HELD_PID" 2>/dev/null || true
}

# The kernel's values that are not of a network are this machine's: others stand in for them.
kernel() {
  local folder
  for folder in kernel dev net/core; do mount -t tmpfs stand-in "/proc/sys/$folder"; done
  mkdir /proc/sys/kernel/yama /proc/sys/dev/tty
  echo 0 | tee /proc/sys/kernel/{yama/ptrace_scope,kptr_restrict} /proc/sys/net/core/bpf_jit_harden >/dev/null
  echo 1 >/proc/sys/dev/tty/ldisc_autoload
}

# --- tests

test_nobody_is_locked_out() {
  local before
  before=$(snapshot /)
  apply nftables
  expect 2 'say from where SSH is allowed'
  apply nftables --ssh-from 10.9.0.300
  expect 2 'nft does not take these rules'
  apply nftables --ssh-from '10.9.0.0/24; flush ruleset'
  expect 2 '--ssh-from takes networks'
  apply nftables --ssh-from 10.9.0.0/24 --ports '8443 }'
  expect 2 '--ports takes numbers'
  apply fail2ban --ports 8443,65536
  expect 2 'no port is 65536'
  hold 22
  apply nftables --ssh-from 192.0.2.0/24
  expect 2 '10.9.0.2 uses SSH right now'
  let_go
  # There is nobody but root who has a key.
  rm -rf /home/alice/.ssh
  apply sshd
  expect 2 'ssh-copy-id'
  harden apply sysctl
  expect 2 'nobody to ask'
  STATUS=0
  WORDS=$(script --quiet --return --command 'scripts/harden/harden apply sysctl' /dev/null <<<n) || STATUS=$?
  expect 2 'Change this.*nothing was changed'
  nft list table inet signet >/dev/null 2>&1 && fail "there are rules"
  [[ $(snapshot /) == "$before" ]] || fail "something was changed: $(diff <(echo "$before") <(snapshot /))"
}

test_files_of_others_are_asked_first() {
  local good
  good=$(</etc/ssh/sshd_config)
  echo 'Nonsense yes' >>/etc/ssh/sshd_config
  apply sshd
  expect 2 'sshd does not take these settings'
  apply nftables --ssh-from "$SSH_FROM"
  expect 2 'which port sshd has cannot be read'
  grep -v '^Include' <<<"$good" >/etc/ssh/sshd_config
  apply sshd
  expect 2 "does not begin with 'Include"
  echo "$good" >/etc/ssh/sshd_config
  printf '[signet-x]\nenabled = true\nfilter = no-such-filter\n' >/etc/fail2ban/jail.d/x.conf
  apply fail2ban
  expect 2 'fail2ban does not take these files'
  rm /etc/fail2ban/jail.d/x.conf
  mkdir -p /etc/systemd/system/sockets.target.wants
  ln -s /lib/systemd/system/ssh.socket /etc/systemd/system/sockets.target.wants
  apply nftables --ssh-from "$SSH_FROM"
  expect 2 'ssh.socket has the port of SSH'
  rm /etc/systemd/system/sockets.target.wants/ssh.socket
  mkdir -p /etc/ufw
  echo ENABLED=yes >/etc/ufw/ufw.conf
  apply nftables --ssh-from "$SSH_FROM"
  expect 2 'ufw is in use'
  rm -r /etc/ufw
  # What a Match block allows again is told.
  somebody
  apply sshd
  expect 0
  printf '\nMatch User backup\n  PasswordAuthentication yes\n' >>/etc/ssh/sshd_config
  harden check sshd
  expect 1 "passwordauthentication +set for 'Match User backup' +not in /etc/ssh/sshd_config"
  echo "$good" >/etc/ssh/sshd_config
  # cloud-init's file comes after ours, and does not count.
  echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/50-cloud-init.conf
  harden check sshd
  expect 0
  echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/00-aaa.conf
  harden check sshd
  expect 1 'passwordauthentication +yes +no'
  rm /etc/ssh/sshd_config.d/{50-cloud-init,00-aaa}.conf
  harden undo sshd --yes
  expect 0
}

# somebody: an account that may log in by key and use sudo.
somebody() {
  id alice >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups sudo alice
  mkdir -p /home/alice/.ssh
  echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice' >/home/alice/.ssh/authorized_keys
}

# whole_life ROOT [--root …]: apply, again, changes by hand, undo.
whole_life() {
  local root=$1 before after state path paths
  shift
  before=$(snapshot "$root")
  harden check "$@"
  expect 1 '/etc/sysctl.d/60-signet.conf +missing'
  apply --ssh-from "$SSH_FROM" --ports 8443,9443 "$@"
  expect 0 'done: nftables sshd sysctl fail2ban units'
  after=$(snapshot "$root")
  state=$(find "$root/var/lib/signet-harden" -type f -exec sha256sum {} + | sort)
  apply "$@"
  expect 0 'nothing to change'
  [[ $(snapshot "$root") == "$after" ]] || fail "the second apply changed something"
  harden check "$@"
  expect 0 'nothing differs'
  # What somebody changes or removes is told, and put right.
  mapfile -t paths < <(cat "$root"/var/lib/signet-harden/*/paths | grep -v '/nftables\.conf$\|wants/')
  ((${#paths[@]} == 8)) || fail "other files: ${paths[*]}"
  for path in "${paths[@]}"; do echo '# by hand' >>"$root$path"; done
  harden check "$@"
  for path in "${paths[@]}"; do expect 1 "$path +1 lines differ"; done
  rm "$root/etc/sysctl.d/60-signet.conf" "$root/etc/systemd/system/sysinit.target.wants/nftables.service"
  harden check "$@"
  expect 1 'nftables.service +missing'
  apply "$@"
  expect 0 'had other changes; a copy is in'
  grep -q 'by hand' "$root/var/lib/signet-harden/saved/etc/fail2ban/jail.d/signet.conf" || fail "no copy"
  harden check "$@"
  expect 0
  rm -r "$root/var/lib/signet-harden/saved"
  [[ $(find "$root/var/lib/signet-harden" -type f -exec sha256sum {} + | sort) == "$state" ]] || fail "undo knows something else now"
  harden undo --yes "$@"
  expect 0 'undone: nftables sshd sysctl fail2ban units'
  [[ $(snapshot "$root") == "$before" ]] || fail "undo left: $(diff <(echo "$before") <(snapshot "$root"))"
  harden undo --yes "$@"
  expect 0 'nothing to undo'
}

test_apply_again_check_and_undo() {
  somebody
  local values
  values=$(sysctl_values)
  whole_life /
  nft list table inet signet >/dev/null 2>&1 && fail "there are rules"
  [[ $(sysctl_values) == "$values" ]] || fail "the kernel has other values"
}

# An image has other packages' files, and no process: its files change, and nothing of this host.
test_the_root_of_an_image() {
  local rules values
  rules=$(nft list ruleset)
  values=$(sysctl_values)
  whole_life "$IMAGE" --root "$IMAGE"
  apply --root "$IMAGE" --ssh-from "$SSH_FROM"
  expect 0 'have the first boot do so'
  # In a chroot, too, the kernel and the network are somebody else's.
  mkdir "$IMAGE/run/signet"
  mount --bind -o ro . "$IMAGE/run/signet"
  mount --bind /proc "$IMAGE/proc"
  WORDS=$(chroot "$IMAGE" /run/signet/scripts/harden/harden apply --yes --ports 8443,443 2>&1) || fail "$WORDS"
  [[ $WORDS =~ 'done: nftables fail2ban' ]] || fail "$WORDS"
  [[ $(nft list ruleset) == "$rules" && $(sysctl_values) == "$values" ]] || fail "the host was changed"
  umount "$IMAGE/proc" "$IMAGE/run/signet"
  rmdir "$IMAGE/run/signet"
  harden undo --yes --root "$IMAGE"
  expect 0
}

sysctl_values() {
  (cd /proc/sys && grep -r '' net/ipv4/conf net/ipv6/conf/*/accept_* kernel/yama kernel/kptr_restrict dev/tty net/core) | LC_ALL=C sort
}

test_sysctl_reaches_every_interface() {
  local before
  before=$(sysctl_values)
  local setting settings
  mapfile -t settings < <(sed -n 's/^\([a-z].*\) = .*/\1/p' scripts/harden/files/sysctl.conf)
  apply sysctl
  expect 0 'net/ipv4/conf/host0/rp_filter +0 +1'
  # Each of them does something: none has that value already.
  for setting in "${settings[@]}"; do
    setting=${setting//./\/}
    expect 0 "${setting//\*/host0} +[01] +[012]"
  done
  [[ $(cat /proc/sys/net/ipv4/conf/{all,default,host0}/accept_redirects /proc/sys/net/ipv6/conf/host0/accept_redirects | sort -u) == 0 ]] ||
    fail "an interface takes redirects"
  [[ $(cat /proc/sys/net/ipv4/conf/host0/rp_filter /proc/sys/kernel/yama/ptrace_scope) == $'1\n1' ]] || fail "not set"
  echo 1 >/proc/sys/net/ipv6/conf/host0/accept_redirects
  harden check sysctl
  expect 1 'net/ipv6/conf/host0/accept_redirects +1 +0'
  apply sysctl
  expect 0
  harden undo sysctl --yes
  expect 0
  [[ $(sysctl_values) == "$before" ]] || fail "undo left: $(diff <(echo "$before") <(sysctl_values))"
}

test_the_firewall_lets_in_what_was_said_and_nothing_else() {
  hold 22
  apply nftables --ssh-from 10.9.0.2,fd09::/64 --ports 8443
  expect 0 'no longer reachable: tcp .*:9100'
  still_open || fail "an SSH connection of before has ended"
  let_go
  answers 10.9.0.2 10.9.0.1 8443 || fail "8443 is closed"
  answers fd09::2 fd09::1 8443 || fail "8443 is closed by IPv6"
  answers fd09:0:0:1::2 fd09:0:0:1::1 8443 || fail "8443 is closed to another network"
  answers 10.9.0.2 10.9.0.1 22 || fail "SSH is closed"
  answers fd09::2 fd09::1 22 || fail "SSH is closed by IPv6"
  closed 10.9.0.3 10.9.0.1 22 || fail "SSH is open to others"
  closed fd09:0:0:1::2 fd09:0:0:1::1 22 || fail "SSH is open to others by IPv6"
  closed 10.9.0.2 10.9.0.1 9100 || fail "9100 is open"
  closed fd09::2 fd09::1 9100 || fail "9100 is open by IPv6"
  # IPv6 finds its neighbour again, and this host gets answers to what it asks.
  ip -6 neighbour flush dev host0
  peer ip -6 neighbour flush dev peer0
  answers fd09::2 fd09::1 8443 || fail "neighbour discovery is closed"
  # A port that is taken away ends no connection that uses it.
  hold 8443
  apply nftables --ports 9443
  expect 0
  still_open || fail "an open connection has ended"
  let_go
  closed 10.9.0.2 10.9.0.1 8443 || fail "8443 is still open"
  answers 10.9.0.2 10.9.0.1 9443 || fail "9443 is closed"
  # sshd at another port is let in there.
  echo 'Port 9100' >/etc/ssh/sshd_config.d/port.conf
  apply nftables
  expect 0
  rm /etc/ssh/sshd_config.d/port.conf
  answers 10.9.0.2 10.9.0.1 9100 || fail "sshd's port is closed"
  closed 10.9.0.2 10.9.0.1 22 || fail "the port that sshd had is open"
  apply nftables
  expect 0
  # Whoever loads the host's own rules again, loads ours with them; rules that are gone are told.
  nft flush ruleset
  harden check nftables
  expect 1 'rules in the kernel +none'
  nft -f /etc/nftables.conf
  harden check nftables
  expect 0
  nft add rule inet signet input tcp dport 9100 accept
  harden check nftables
  expect 1 'rules in the kernel +not those of the file'
  # What the host's owner adds to the file in which we have a line is no difference, and stays.
  local rules
  rules=$(sed '/signet.nft/d' /etc/nftables.conf)
  echo '# by hand' >>/etc/nftables.conf
  apply nftables
  expect 0
  harden undo nftables --yes
  expect 0
  [[ $(</etc/nftables.conf) == "$rules"*'# by hand' && ! $(</etc/nftables.conf) =~ include ]] || fail "undo left: $(</etc/nftables.conf)"
  answers 10.9.0.2 10.9.0.1 9100 || fail "undo left rules"
}

# lines: what our code writes, as its own tests have it.
lines() {
  grep -rhoE '20[0-9-]+T[0-9:]+Z (signetd|signet-gateway) ban src=[0-9a-f.:/]+ reason=[a-z-]+' --include='*.rs' --include='*.md' services
}

# matched TEXT: how many of its lines the filter takes for bans.
matched() {
  fail2ban-regex "$1" /etc/fail2ban/filter.d/signet.conf | sed -nE 's/^Lines: .* ([0-9]+) matched.*/\1/p'
}

test_fail2ban_reads_bans_and_nothing_else() {
  apply fail2ban
  expect 0
  lines >/tmp/lines
  [[ $(matched /tmp/lines) == $(wc -l </tmp/lines) && $(grep -c signetd /tmp/lines) -ge 4 ]] || fail "not all of: $(</tmp/lines)"
  cmp <(sed 1d "services/control-plane/fail2ban/action.d/signetd-nftables.conf") <(sed 1d /etc/fail2ban/action.d/signet-nftables.conf) ||
    fail "signetd's own action has changed"
  cat >/tmp/others <<'LINES'
2026-11-28T17:00:00Z signetd ban src=0.0.0.0/0 reason=bad-certificate
2026-11-28T17:00:00Z signetd ban src=192.0.2.0/24 reason=bad-certificate
2026-11-28T17:00:00Z signetd ban src=2001:db8::/32 reason=bad-certificate
2026-11-28T17:00:00Z signetd ban src=::/0 reason=bad-certificate
2026-11-28T17:00:00Z signetd ban src=2001:db8::1 reason=bad-certificate
2026-11-28T17:00:00Z signetd ban src=example.com reason=bad-certificate
2026-11-28T17:00:00Z signetd ban src=192.0.2.1 reason=bad-certificate and more
2026-11-28T17:00:00Z x signetd ban src=192.0.2.1 reason=bad-certificate
2026-11-28T17:00:00Z GET /?2026-11-28T17:00:00Z signetd ban src=192.0.2.1 reason=bad-certificate
x 2026-11-28T17:00:00Z signetd ban src=192.0.2.1 reason=bad-certificate
{"path":"2026-11-28T17:00:00Z signetd ban src=192.0.2.1 reason=bad-certificate"}
2026-11-28T17:00:00Z nginx ban src=192.0.2.1 reason=bad-certificate
signetd ban 2026-11-28T17:00:00Z src=192.0.2.1 reason=bad-certificate
2026-11-28T17:00:00Z signetd unban src=192.0.2.1 reason=bad-certificate
LINES
  [[ $(matched /tmp/others) == 0 ]] ||
    fail "taken for a ban: $(fail2ban-regex --print-all-matched /tmp/others /etc/fail2ban/filter.d/signet.conf)"
  harden undo fail2ban --yes
}

ban() { printf '%s %s ban src=%s reason=bad-certificate\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" >>"$3"; }
banned() { nft list ruleset | grep -qF "$1"; }

test_fail2ban_closes_signets_ports_and_no_others() {
  apply nftables fail2ban --ssh-from "$SSH_FROM" --ports 8443,9443
  expect 0
  # signetd's folder is its user's, and so are the files that root had made there.
  [[ $(stat -c %a /var/log/signet/bans.log) == 640 ]] || fail "anybody reads the log"
  fail2ban-server -xf start >/dev/null 2>&1 &
  wait_until 20 fail2ban-client status signet || fail "fail2ban does not start: $(tail -n 5 /var/log/fail2ban.log)"
  fail2ban-client status | grep -q sshd || fail "Debian's own jail is gone"
  answers 10.9.0.3 10.9.0.1 8443 || fail "closed before the ban"
  answers fd09:0:0:1::2 fd09:0:0:1::1 9443 || fail "closed before the ban"
  ban signetd 10.9.0.3 /var/log/signet/bans.log
  ban signet-gateway fd09:0:0:1::/64 /var/log/signet-gateway/bans.log
  wait_until 20 banned 10.9.0.3 || fail "no ban: $(tail -n 5 /var/log/fail2ban.log)"
  wait_until 20 banned fd09:0:0:1::/64 || fail "no ban of the /64: $(tail -n 5 /var/log/fail2ban.log)"
  closed 10.9.0.3 10.9.0.1 8443 || fail "the source is not dropped"
  closed 10.9.0.3 10.9.0.1 9443 || fail "the gateway's port is open"
  closed fd09:0:0:1::2 fd09:0:0:1::1 8443 || fail "the /64 is not dropped"
  answers 10.9.0.2 10.9.0.1 8443 || fail "others are dropped"
  answers fd09::2 fd09::1 8443 || fail "other networks are dropped"
  answers 10.9.0.3 10.9.0.1 22 || fail "who is banned cannot use SSH"
  # Neighbours are not one range: one of them is let in again.
  ban signetd 10.9.0.4 /var/log/signet/bans.log
  wait_until 20 banned 10.9.0.4 || fail "no ban of its neighbour"
  fail2ban-client set signet unbanip 10.9.0.3 >/dev/null
  answers 10.9.0.3 10.9.0.1 8443 || fail "unbanned, and still dropped"
  closed 10.9.0.4 10.9.0.1 8443 || fail "its neighbour is unbanned too"
  fail2ban-client stop >/dev/null
  wait_until 20 answers fd09:0:0:1::2 fd09:0:0:1::1 8443 || fail "it stays dropped once fail2ban has ended"
  harden undo nftables fail2ban --yes
  expect 0
}

# A folder of another user may be a trap: nothing that its links name is made or given away.
test_root_follows_no_links_to_a_ban_log() {
  useradd --system signet-trap
  rm -rf /var/log/signet
  mkdir /var/log/signet
  chown signet-trap: /var/log/signet
  ln -s /etc/trapped /var/log/signet/bans.log
  apply fail2ban
  expect 2 '/var/log/signet/bans.log is a link'
  [[ ! -e /etc/trapped ]] || fail "root made the file that a link names"
  rm /var/log/signet/bans.log
  apply fail2ban
  expect 0
  [[ $(stat -c %U /var/log/signet/bans.log) == signet-trap ]] || fail "signetd cannot write its log"
  harden undo fail2ban --yes
  rmdir /var/log/signet
}

# exposure UNIT: systemd's score in tenths, with our file; 100 is the worst.
exposure() {
  systemd-analyze security --no-pager --offline=true "$1.service" | sed -nE 's/.*Overall exposure level for .*: ([0-9]+)\.([0-9]).*/\1\2/p'
}

test_units_are_sandboxed() {
  local file unit at_most line
  install -m 644 services/*/*.service /etc/systemd/system
  apply units
  expect 0
  for file in services/*/*.service; do
    unit=$(basename "$file" .service)
    install -m 755 /bin/true "/usr/bin/$unit"
    WORDS=$(systemd-analyze verify "$unit.service" 2>&1) || fail "$WORDS"
    [[ -z $WORDS ]] || fail "$WORDS"
    at_most=20
    [[ $unit != signet-agent ]] || at_most=35
    [[ $(exposure "$unit") -le $at_most ]] || fail "$unit: $(exposure "$unit") tenths, at most $at_most"
    say "$unit: exposure $(exposure "$unit") tenths of 100"
  done
  for file in services/control-plane/signetd.service services/agent/signet-agent.service; do
    grep '^[A-Z]' "scripts/harden/files/units/$(basename "$file" .service).conf" | while read -r line; do
      grep -qxF -- "$line" "$file" || fail "$file does not have $line"
    done
  done
  harden undo units --yes
  expect 0
}

trap 'say "a command failed in line $LINENO: $BASH_COMMAND"' ERR
set -E
network
kernel
TESTS=("$@")
((${#TESTS[@]})) || mapfile -t TESTS < <(compgen -A function test_)
for test in "${TESTS[@]}"; do
  began=$SECONDS
  "$test"
  say "$test: $((SECONDS - began)) s"
done
say "all ${#TESTS[@]} passed in $SECONDS s"
