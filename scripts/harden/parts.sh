# shellcheck shell=bash disable=SC2153 # HERE, STAGE and so on are of harden
# Sourced by harden. Each PART has: _ready (what it needs is there, or the end), _stage (files it wants), _safe (nobody is locked
# out by it, or the end), _differs (lines of the table beyond files), _notes (what people should know first), _before (what to
# remember for undo), and _live and _unlive, which have the running system follow its files.

# A file of the host to which we add a line.
HOSTS_OWN=/etc/nftables.conf
SIGNET_NFT=/etc/nftables.d/signet.nft
SYSCTL_CONF=/etc/sysctl.d/60-signet.conf
SSHD_CONF=/etc/ssh/sshd_config.d/00-signet.conf
BAN_LOGS=(/var/log/signet/bans.log /var/log/signet-gateway/bans.log)
# The gateway's own unit has all of it.
UNITS=(signetd signet-agent)

has_systemd() { [[ -n $LIVE && -d /run/systemd/system ]]; }
in_root() { if [[ -n $ROOT ]]; then chroot "$ROOT" "$@"; else "$@"; fi; }

# row PART WHAT IS SHOULD: a line of the table.
row() { printf '%s\t%s\t%s\t%s\n' "$@"; }

# --- nftables

nftables_ready() {
  [[ -f $ROOT$HOSTS_OWN ]] || die "nftables is not installed${ROOT:+ in $ROOT}: apt-get install nftables"
  command -v nft >/dev/null || die "'nft' is not installed on this machine, which checks the rules: apt-get install nftables"
  [[ -n $SSH_PORTS ]] || die "which port sshd has cannot be read, since 'sshd -T' fails: repair $ROOT/etc/ssh/sshd_config first"
  [[ ! -L $ROOT/etc/systemd/system/sockets.target.wants/ssh.socket ]] ||
    die "ssh.socket has the port of SSH, which sshd_config does not know: systemctl disable --now ssh.socket; systemctl enable --now ssh"
  [[ $(cat "$ROOT/etc/ufw/ufw.conf" 2>/dev/null) != *ENABLED=yes* ]] ||
    die "ufw is in use, and its rules and these would contradict each other: ufw disable, or leave out nftables"
  [[ ! -L $ROOT/etc/systemd/system/multi-user.target.wants/firewalld.service ]] ||
    die "firewalld is in use, and its rules and these would contradict each other: systemctl disable --now firewalld"
}

# elements ADDRESS…: what a set contains, if anything.
elements() { (($# == 0)) || (IFS=, && printf 'elements = { %s }' "$*"); }

nftables_stage() {
  local network four=() six=() include="include \"$SIGNET_NFT\""
  for network in ${SSH_FROM//,/ }; do
    if [[ $network == *:* ]]; then six+=("$network"); else four+=("$network"); fi
  done
  filled "$HERE/files/nftables.conf" "SSH4=$(elements ${four[@]+"${four[@]}"})" "SSH6=$(elements ${six[@]+"${six[@]}"})" \
    "SSH_PORTS=$SSH_PORTS" "PORTS=$PORTS" | stage nftables "$SIGNET_NFT"
  {
    cat "$ROOT$HOSTS_OWN"
    # Loaded with the host's own rules, at boot and when they are loaded again.
    grep -qxF "$include" "$ROOT$HOSTS_OWN" || printf '\n%s\n' "$include"
  } | stage nftables "$HOSTS_OWN"
  stage_link nftables /etc/systemd/system/sysinit.target.wants/nftables.service /lib/systemd/system/nftables.service
}

# with_rules COMMAND…: in a network of its own that has these rules.
with_rules() {
  # shellcheck disable=SC2016 # for the inner shell
  unshare --net sh -c 'nft -f "$0" && "$@"' "$STAGE/nftables$SIGNET_NFT" "$@"
}

nftables_safe() {
  local peer set
  [[ -n $SSH_FROM ]] || die "say from where SSH is allowed, or nobody gets in any more: --ssh-from 192.0.2.0/24,2001:db8::/48"
  with_rules true || die "nft does not take these rules: look at --ssh-from and --ports"
  while read -r peer; do
    set=ssh_from4
    [[ $peer != *:* ]] || set=ssh_from6
    with_rules nft get element inet signet "$set" "{ $peer }" >/dev/null 2>&1 ||
      die "$peer uses SSH right now, and is not in --ssh-from $SSH_FROM: it would be locked out"
  done < <(ssh_peers | cut -d' ' -f2)
}

nftables_differs() {
  local is
  [[ -n $LIVE ]] || return 0
  is=$(nft --stateless list table inet signet 2>/dev/null) || { row nftables 'rules in the kernel' none loaded && return; }
  [[ $is == "$(with_rules nft --stateless list table inet signet)" ]] || row nftables 'rules in the kernel' 'not those of the file' loaded
}

nftables_notes() {
  local protocol address port
  [[ -n $LIVE ]] || return 0
  # Port 68 and 546 are DHCP's, which works.
  ss -Htuln | awk '{ print $1, $5 }' | while read -r protocol address; do
    port=${address##*:}
    [[ $address =~ ^(127\.|\[::1\]) || ",$PORTS,68,546,$SSH_PORTS," == *",$port,"* ]] ||
      echo "from outside no longer reachable: $protocol $address"
  done
}

nftables_before() { :; }
nftables_live() { nft -f "$SIGNET_NFT"; }
nftables_unlive() { nft delete table inet signet 2>/dev/null || true; }

# --- sysctl

sysctl_ready() { :; }
sysctl_stage() { stage sysctl "$SYSCTL_CONF" <"$HERE/files/sysctl.conf"; }

# A host with two ways to one network drops, with rp_filter, what comes by the other.
sysctl_safe() {
  local here peer way
  while read -r here peer; do
    way=$(ip -o route get "$peer" from "$here" 2>/dev/null | grep -o ' dev [^ ]*') || continue
    [[ $(ip -o address show to "$here") == *" ${way#* dev } "* ]] ||
      die "SSH of $peer comes by another interface than answers take, and rp_filter would end it: apply the other parts by name"
  done < <(ssh_peers | awk '!/:/')
}

# kernel_values: file below /proc/sys, value that is wanted, one a line. A container lacks some of them.
kernel_values() {
  local key value path
  while IFS='= ' read -r key value; do
    [[ $key =~ ^[a-z] ]] || continue
    # shellcheck disable=SC2086 # an interface is a *
    for path in /proc/sys/${key//.//}; do [[ ! -f $path ]] || echo "$path $value"; done
  done <"$STAGE/sysctl$SYSCTL_CONF"
}

sysctl_differs() {
  local path value is
  [[ -n $LIVE ]] || return 0
  while read -r path value; do
    is=$(<"$path")
    [[ $is == "$value" ]] || row sysctl "${path#/proc/sys/}" "$is" "$value"
  done < <(kernel_values)
}

sysctl_notes() { :; }

sysctl_before() {
  local path value
  [[ -n $LIVE && ! -f $STATE/sysctl/kernel ]] || return 0
  mkdir -p "$STATE/sysctl"
  while read -r path value; do echo "$path $(<"$path")"; done < <(kernel_values) >"$STATE/sysctl/kernel"
}

sysctl_live() {
  local path value
  while read -r path value; do
    [[ $(<"$path") == "$value" ]] || echo "$value" >"$path" || say "$path cannot be set here"
  done < <(kernel_values)
}

sysctl_unlive() {
  local path value
  [[ -f $STATE/sysctl/kernel ]] || return 0
  while read -r path value; do [[ ! -f $path ]] || echo "$value" >"$path"; done <"$STATE/sysctl/kernel"
}

# --- sshd

has_sshd() { [[ -x $ROOT/usr/sbin/sshd ]]; }

sshd_ready() {
  has_sshd || { say "sshd: not installed, nothing to harden" && return; }
  awk '/^[ \t]*(#|$)/ { next } { exit !(tolower($1) == "include" && $2 == "/etc/ssh/sshd_config.d/*.conf") }' \
    "$ROOT/etc/ssh/sshd_config" ||
    die "$ROOT/etc/ssh/sshd_config does not begin with 'Include /etc/ssh/sshd_config.d/*.conf', as Debian's does: add that line"
}

sshd_stage() { ! has_sshd || stage sshd "$SSHD_CONF" <"$HERE/files/sshd.conf"; }

# sshd_try ARGUMENT…: sshd -t or -T of the root, also where it has no host keys yet. CANDIDATE, if set, is the text of its configuration.
sshd_try() {
  local folder status=0 arguments=("$@") made=
  [[ -d $ROOT/run/sshd ]] || { install -d -m 755 "$ROOT/run/sshd" && made=1; }
  folder=$(mktemp -d "$ROOT/run/signet-harden.XXXXXX")
  in_root ssh-keygen -q -t ed25519 -N '' -f "${folder#"$ROOT"}/key"
  if [[ -n ${CANDIDATE:-} ]]; then
    echo "$CANDIDATE" >"$folder/config"
    arguments+=(-f "${folder#"$ROOT"}/config")
  fi
  in_root /usr/sbin/sshd -h "${folder#"$ROOT"}/key" "${arguments[@]}" || status=$?
  rm -rf "$folder"
  [[ -z $made ]] || rmdir "$ROOT/run/sshd"
  return "$status"
}

# ssh_ports: where sshd listens, with commas; nothing if sshd does not take its configuration.
ssh_ports() {
  if has_sshd; then sshd_try -T 2>/dev/null | sed -n 's/^port //p' | paste -sd, || true; else echo 22; fi
}

# ssh_peers: this host's address and the client's of each SSH connection that is open now.
ssh_peers() {
  [[ -n $LIVE && -n $SSH_PORTS ]] || return 0
  ss -Htn state established "sport = :${SSH_PORTS//,/ or sport = :}" |
    awk '{ print $3, $4 }' | sed -E 's/\[?(::ffff:)?([^] %]+)(%[^] ]*)?\]?:[0-9]+( |$)/\2 /g; s/ $//'
}

# Someone can still log in by key and become root.
somebody_gets_in() {
  local name uid home shell
  sshd_try -T 2>/dev/null | grep -Eq '^(trustedusercakeys|authorizedkeyscommand) /' && return 0
  while IFS=: read -r name _ uid _ _ home shell; do
    [[ $uid -ge 1000 && $uid -lt 65534 && $shell != */nologin && $shell != */false ]] || continue
    grep -Eqs '^[^#]*(ssh|ecdsa|sk)-' "$ROOT$home"/.ssh/authorized_keys{,2} || continue
    grep -Eq "^(sudo|wheel):.*[:,]$name(,|\$)" "$ROOT/etc/group" && return 0
    grep -Eqs "^${name}[[:space:]]" "$ROOT/etc/sudoers" "$ROOT"/etc/sudoers.d/* && return 0
  done <"$ROOT/etc/passwd"
  return 1
}

sshd_safe() {
  local advice="no account but root's has an SSH key and may use sudo: ssh-copy-id to one first, and adduser NAME sudo"
  has_sshd || return 0
  CANDIDATE=$(cat "$STAGE/sshd$SSHD_CONF" "$ROOT/etc/ssh/sshd_config") sshd_try -t ||
    die "sshd does not take these settings with $ROOT/etc/ssh/sshd_config; its words are above"
  somebody_gets_in || { [[ -z $LIVE ]] && say "sshd: $advice, or have the first boot do so"; } || die "$advice"
}

# matches KEYWORD: files and Match lines below which it is set.
matches() {
  find "$ROOT/etc/ssh/sshd_config" "$ROOT/etc/ssh/sshd_config.d" -type f -exec awk -v key="$1" '
    FNR == 1 { inside = "" }
    tolower($1) == "match" { inside = $0 }
    inside && tolower($1) == key { print FILENAME "\t" inside }' {} +
}

sshd_differs() {
  local key value is all file
  has_sshd || return 0
  all=$(sshd_try -T 2>/dev/null) || { row sshd 'sshd -T' fails works && return; }
  while read -r key value; do
    [[ $key =~ ^[A-Z] ]] || continue
    is=$(sed -n "s/^${key,,} //p" <<<"$all")
    if [[ $value == -* ]]; then
      # A list to which these do not belong.
      is=$(tr , '\n' <<<"$is" | grep -xFf <(tr , '\n' <<<"${value#-}") | paste -sd,) || true
      [[ -z $is ]] || row sshd "${key,,}" "${is:0:26}" 'none of these'
    else
      [[ $is == "$value" ]] || row sshd "${key,,}" "$is" "$value"
    fi
    # What a Match block says holds for whom it names, whatever stands above.
    matches "${key,,}" | while IFS=$'\t' read -r file is; do row sshd "${key,,}" "set for '$is'" "not in ${file#"$ROOT"}"; done
  done <"$HERE/files/sshd.conf"
}

sshd_notes() { :; }
sshd_before() { :; }
sshd_live() { ! has_systemd || systemctl try-reload-or-restart ssh; }
sshd_unlive() { sshd_live; }

# --- fail2ban

fail2ban_ready() {
  [[ -x $ROOT/usr/bin/fail2ban-server && -x $ROOT/usr/sbin/nft && -d $ROOT/usr/lib/python3/dist-packages/systemd ]] ||
    die "fail2ban or what it needs is not installed${ROOT:+ in $ROOT}: apt-get install fail2ban nftables python3-systemd"
}

fail2ban_stage() {
  local file
  for file in filter.d/signet.conf action.d/signet-nftables.conf jail.d/signet.conf; do
    filled "$HERE/files/fail2ban/$file" "PORTS=$PORTS" "SSH_PORTS=${SSH_PORTS:-22}" |
      stage fail2ban "/etc/fail2ban/$file"
  done
  stage_link fail2ban /etc/systemd/system/multi-user.target.wants/fail2ban.service /lib/systemd/system/fail2ban.service
}

# fail2ban reads the files together with those of the host.
fail2ban_safe() {
  local folder inside log status=0
  for log in "${BAN_LOGS[@]}"; do [[ ! -L $ROOT$log ]] || die "$ROOT$log is a link, which fail2ban would follow as root: remove it"; done
  folder=$(mktemp -d "$ROOT/run/signet-harden.XXXXXX")
  inside=${folder#"$ROOT"}
  cp -a "$ROOT/etc/fail2ban" "$STAGE/fail2ban/etc/fail2ban" "$folder"
  touch "$folder/bans.log"
  printf '[signet]\nlogpath = %s/bans.log\n' "$inside" >"$folder/fail2ban/jail.d/zz-signet-harden.local"
  in_root fail2ban-client -c "$inside/fail2ban" -t >"$folder/words" 2>&1 || { status=1 && cat "$folder/words" >&2; }
  rm -rf "$folder"
  ((status == 0)) || die "fail2ban does not take these files together with those in $ROOT/etc/fail2ban; its words are above"
}

fail2ban_differs() {
  local log status
  for log in "${BAN_LOGS[@]}"; do [[ -f $ROOT$log ]] || row fail2ban "$log" missing 'a file, or fail2ban does not start'; done
  has_systemd || return 0
  status=$(fail2ban-client status signet 2>/dev/null) || { row fail2ban 'jail signet' 'not running' running && return; }
  # Whoever loads all rules again flushes its table, and it knows nothing of that.
  [[ $status =~ Banned\ IP\ list:[[:space:]]*$ ]] || nft list table inet f2b-table >/dev/null 2>&1 ||
    row fail2ban 'bans in the kernel' none 'systemctl restart fail2ban'
}

fail2ban_notes() { :; }

# fail2ban does not start without its logs. Who owns their folder makes them: root follows nobody's links.
fail2ban_before() {
  local log folder
  for log in "${BAN_LOGS[@]}"; do
    [[ ! -e $ROOT$log ]] || continue
    mkdir -p "$STATE/fail2ban"
    make_folders fail2ban "${log%/*}"
    folder=$ROOT${log%/*}
    # shellcheck disable=SC2016 # for the inner shell
    setpriv --reuid="$(stat -c %u "$folder")" --regid="$(stat -c %g "$folder")" --clear-groups \
      sh -c 'umask 027 && : >>"$0"' "$ROOT$log"
    echo "$log" >>"$STATE/fail2ban/logs"
  done
}

fail2ban_live() { ! has_systemd || systemctl reload-or-restart fail2ban || die "fail2ban does not start: journalctl -u fail2ban"; }

# As Debian ships it, it does not start without rsyslog: restarted, it is as it was, and not as it happens to run now.
fail2ban_unlive() { ! has_systemd || systemctl try-restart fail2ban || say "fail2ban does not start: journalctl -u fail2ban"; }

# --- units

units_ready() { :; }

units_stage() {
  local unit
  for unit in "${UNITS[@]}"; do stage units "/etc/systemd/system/$unit.service.d/60-signet.conf" <"$HERE/files/units/$unit.conf"; done
}

units_safe() { :; }

# A process that runs since before has not got what its unit says now.
units_differs() {
  local unit pid
  has_systemd || return 0
  for unit in "${UNITS[@]}"; do
    pid=$(systemctl show --property MainPID --value "$unit.service")
    [[ ${pid:-0} == 0 || ! -f $STATE/units/paths ]] || grep -q '^NoNewPrivs:.1' "/proc/$pid/status" ||
      row units "$unit.service" 'runs without its sandbox' "systemctl restart $unit"
  done
}

units_notes() { :; }
units_before() { :; }

units_live() {
  has_systemd || return 0
  systemctl daemon-reload
  say "units: restart them for it to hold: systemctl try-restart ${UNITS[*]}"
}

units_unlive() { units_live; }
