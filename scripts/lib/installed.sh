# shellcheck shell=bash
# Run by scripts/install-round, in a Debian that was booted for it: installed.sh VERSION ARCH.
set -euo pipefail
[[ $(tr '\0' '\n' </proc/1/environ) == *container=signet* ]] ||
  { echo "this would install packages on the machine that it runs on: use scripts/install-round" >&2 && exit 1; }
# shellcheck source=scripts/lib/common.sh
. /run/signet/scripts/lib/common.sh
VERSION=$1
ARCH=$2
cd /run/packages

says() { "$@" >/tmp/words 2>&1 || die "'$*' failed: $(tail -n 20 /tmp/words)"; }
principal() { sudo -H -u signet principal "$@"; }
runs() { systemctl is-active --quiet "$1"; }
apt() { DEBIAN_FRONTEND=noninteractive says /usr/bin/apt-get --quiet --yes "$@"; }

# sandboxed UNIT: its process has no new privileges and a filter of system calls.
sandboxed() {
  local status
  status=$(<"/proc/$(systemctl show --property MainPID --value "$1")/status")
  [[ $status == *'NoNewPrivs:'?1* && $status == *'Seccomp:'?2* ]] || die "$1 runs without its sandbox: $status"
}

# as_documented: every command of the section Packages of docs/install.md, in its order. What it installs is installed, and nothing is answered.
as_documented() {
  local line began=$SECONDS count=0
  while read -r line; do
    says env DEBIAN_FRONTEND=noninteractive bash -euc "${line/apt install/apt-get install --yes}"
    if [[ $line == *'apt install'* ]]; then
      fresh
      began=$SECONDS
    else
      count=$((count + 1))
    fi
  done < <(sed -n '/^## Packages/,/^## [^P]/s/^\$ sudo/sudo/p' /run/signet/docs/install.md | sed 's/ *#.*//')
  ((count == 4)) || die "docs/install.md has $count commands from the installation to the first certificate, not four"
  ((SECONDS - began < 60)) || die "the first certificate took $((SECONDS - began)) s"
  [[ $(</var/lib/signet/sensor-001/cert.pem) == *'BEGIN CERTIFICATE'* ]] || die "there is no certificate"
  say "the first certificate is there $((SECONDS - began)) s after the installation, by $count commands"
}

# fresh: nothing runs before there is an environment, and the passphrase is signetd's alone.
fresh() {
  if runs signetd || systemctl is-enabled --quiet signetd; then die "signetd was enabled or started by its installation"; fi
  [[ $(stat --format '%a %U' /var/lib/signet /var/lib/signet/passphrase /var/log/signet) == $'700 signet\n600 signet\n750 signet' ]] ||
    die "other owners or modes: $(stat --format '%n %a %U' /var/lib/signet /var/lib/signet/passphrase /var/log/signet)"
  says dpkg --verify signetd principal
  [[ -s /usr/share/man/man8/signetd.8.gz && -s /usr/share/man/man1/principal-tenant-create.1.gz ]] || die "pages are missing"
  says bash -euc '. /usr/share/bash-completion/completions/principal; complete -p principal'
  cmp <(signetd sample) /usr/share/doc/signetd/examples/signet.sample.toml || die "signetd sample prints another one"
}

# agent: its configuration is filled in; it takes the certificate of a worker.
agent() {
  apt install "./signet-agent_${VERSION}_$ARCH.deb"
  if runs signet-agent; then die "signet-agent was started by its installation"; fi
  says principal token create worker --id w-1 --tenant acme --secret-file /var/lib/signet/w-1.token
  mv /var/lib/signet/w-1.token /etc/signet/web.token
  principal ca bundle --server >/etc/signet/server-anchor.pem
  sed -i 's/signet.example.com/localhost/; s/^#\([[a-z]\)/\1/' /etc/signet/agent.toml
  timeout 60 systemctl enable --quiet --now signet-agent || die "signet-agent does not start: $(journalctl --unit signet-agent --lines 20)"
  sandboxed signet-agent
  says signet-agent status
  [[ $(stat --dereference --format '%a %U' /etc/signet/web/key.pem) == '600 root' ]] || die "the key is readable to others"
}

# gateway: of its sample, what this machine has.
gateway() {
  apt install "./signet-gateway_${VERSION}_$ARCH.deb"
  if runs signet-gateway; then die "signet-gateway was started by its installation"; fi
  says principal token create service --id gateway-1 --tenant acme --secret-file /var/lib/signet/gateway.token
  install -o signet-gateway -m 600 /var/lib/signet/gateway.token /etc/signet/gateway.token
  signet-gateway sample | sed 's#https://signet.example.com#https://localhost#; s#"0.0.0.0:8443"#"0.0.0.0:9443"#
    s#^permission = "jobs:submit"#permission = "none"#' >/etc/signet/gateway.toml
  timeout 60 systemctl enable --quiet --now signet-gateway || die "signet-gateway does not start: $(journalctl --unit signet-gateway --lines 20)"
  sandboxed signet-gateway
}

# upgrade: signetd is another process of the same environment, and a configuration that was changed stays.
upgrade() {
  local before after secret
  secret=$(sha256sum /var/lib/signet/passphrase)
  printf '\n# Mine.\n' >>/etc/signet/signet.toml
  before=$(systemctl show --property MainPID --value signetd)
  apt install /run/newer/signetd.deb
  after=$(systemctl show --property MainPID --value signetd)
  [[ $after != 0 && $after != "$before" ]] || die "signetd was not restarted by the upgrade"
  grep -q '^# Mine' /etc/signet/signet.toml || die "the upgrade changed the configuration"
  [[ $(sha256sum /var/lib/signet/passphrase) == "$secret" ]] || die "the upgrade changed the passphrase"
  says principal whoami
}

# leave: what has keys stays, and works again.
leave() {
  local package
  apt remove signetd
  if runs signetd; then die "signetd runs without its program"; fi
  [[ -e /etc/signet/signet.toml ]] || die "removal took the configuration"
  apt purge signetd signet-agent signet-gateway
  grep -q 'signetd: kept /var/lib/signet, which has keys' /tmp/words || die "purge does not say what it left"
  [[ ! -e /etc/signet/signet.toml && -e /var/lib/signet/keys ]] || die "purge left the configuration or took the keys"
  for package in signetd signet-agent signet-gateway; do
    if systemctl is-enabled --quiet "$package" 2>/dev/null; then die "$package is enabled after its purge"; fi
  done
  apt install "./signetd_${VERSION}_$ARCH.deb"
  says systemctl start signetd
  says principal whoami
}

printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(hostname)" >/etc/hosts
as_documented
sandboxed signetd
agent
gateway
upgrade
leave
say "all passed in $SECONDS s"
