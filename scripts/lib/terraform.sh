# shellcheck shell=bash
# Sourced after common.sh, which sets ROOT and LOCAL, and process.sh: the real Terraform with the real AWS provider, never writing into the source tree.

# tf DIR ARGUMENT…: terraform in DIR, quiet, without asking and without the user's CLI configuration.
tf() {
  local dir=$1
  shift
  TF_CLI_CONFIG_FILE=/dev/null TF_IN_AUTOMATION=1 TF_INPUT=0 CHECKPOINT_DISABLE=1 terraform -chdir="$dir" "$@"
}

# tf_init DIR [ARGUMENT…]: gets the provider from a tree of providers on this machine if there is one, else from the public registry.
tf_init() {
  local dir=$1 mirror
  shift
  need terraform "Install Terraform 1.11 or newer: https://developer.hashicorp.com/terraform/install"
  if mirror=$(provider_mirror); then
    tf "$dir" init -no-color -plugin-dir="$mirror" "$@" >"$dir/init.log" 2>&1
  else
    say "downloading the AWS provider (about 150 MB; TF_PLUGIN_MIRROR names a folder that has it) …"
    mkdir -p "$LOCAL/tools/terraform-plugins"
    TF_PLUGIN_CACHE_DIR=$LOCAL/tools/terraform-plugins tf "$dir" init -no-color "$@" >"$dir/init.log" 2>&1
  fi || {
    cat "$dir/init.log" >&2
    die "terraform init failed in $dir"
  }
}

# provider_mirror: prints the root of a provider tree (…/hashicorp/aws/VERSION/OS_ARCH); 1 if there is none.
provider_mirror() {
  local folder provider
  for folder in "${TF_PLUGIN_MIRROR:-}" "$HOME/.terraform.d/plugins" /usr/local/share/terraform/plugins /usr/share/terraform/plugins /opt; do
    [[ -n $folder && -d $folder ]] || continue
    provider=$(find "$folder" -maxdepth 7 -name 'terraform-provider-aws_v*' -path '*/hashicorp/aws/*' -print -quit 2>/dev/null)
    [[ -n $provider ]] || continue
    echo "${provider%/*/hashicorp/aws/*}"
    return 0
  done
  return 1
}

# tf_copy ROOT-MODULE DIR: copies infra/modules and the root module, so that state, lock file and override stay out of the sources.
tf_copy() {
  local module=$1 dir=$2
  mkdir -p "$dir/infra" "$dir/$module"
  rm -rf "$dir/infra/modules" "$dir/$module/tests"
  cp -R "$ROOT/infra/modules" "$dir/infra/modules"
  cp "$ROOT/$module"/*.tf "$dir/$module/"
  if [[ -d $ROOT/$module/tests ]]; then cp -R "$ROOT/$module/tests" "$dir/$module/"; fi
}

# tf_copy_roots DIR: all of infra's root modules, each with the test that plans it, and packages where they look for them.
tf_copy_roots() {
  local dir=$1 folder
  mkdir -p "$dir/dist"
  cp "$ROOT"/infra/modules/environment/tests/packages/*.zip "$dir/dist/"
  for folder in $(tf_roots); do
    tf_copy "$folder" "$dir"
    mkdir -p "$dir/$folder/tests"
    cp "$ROOT/infra/plan.tftest.hcl" "$dir/$folder/tests/"
  done
}

# tf_roots: paths of the environments and examples.
tf_roots() { (cd "$ROOT" && find infra/environments infra/examples -name main.tf -printf '%h\n' | sort); }

# Every AWS service that our modules use; one more there is one more here.
TF_SERVICES=(
  acm apigateway apigatewayv2 applicationautoscaling cloudtrail cloudwatch dynamodb ec2 ecr ecs elbv2 events iam kms lambda logs
  route53 s3 scheduler secretsmanager sns sqs ssm sts wafv2
)

# tf_point_at ENDPOINT DIR: makes the root module in DIR speak to an emulator, as root or with the credentials in TF_KEY_ID, TF_SECRET, TF_TOKEN.
tf_point_at() {
  local service
  {
    echo 'provider "aws" {'
    tf_credentials
    echo '  skip_credentials_validation = true'
    echo '  skip_metadata_api_check     = true'
    echo '  s3_use_path_style           = true'
    echo '  endpoints {'
    for service in "${TF_SERVICES[@]}"; do
      echo "    $service = \"$1\""
    done
    echo '  }'
    echo '}'
  } >"$2/emulator_override.tf"
}

# tf_credentials: lines of a provider or a backend.
tf_credentials() {
  echo "access_key = \"${TF_KEY_ID:-test}\""
  echo "secret_key = \"${TF_SECRET:-test}\""
  [[ -z ${TF_TOKEN:-} ]] || echo "token = \"$TF_TOKEN\""
}

# tf_local_state DIR: state beside the root module in DIR instead of in S3, if it says S3.
tf_local_state() {
  [[ ! -f $1/backend.tf ]] || printf 'terraform {\n  backend "local" {}\n}\n' >"$1/backend_override.tf"
}

# tf_serve DIR COMMAND…: starts a provider that says where Terraform finds it, for all that is done until stop_process provider DIR. Terraform
# otherwise starts the AWS provider for every run of a test, and reads its 700 MB before to see that nobody has changed them.
tf_serve() {
  local dir=$1
  shift
  # A provider that is configured a second time, as it is then, does not take AWS_CA_BUNDLE; and by itself it would log every request.
  start_process provider "$dir" env -u AWS_CA_BUNDLE TF_LOG_SDK=off TF_LOG_PROVIDER=off "$@"
  wait_until 60 grep -q 'hashicorp/aws":' "$dir/provider.log" || {
    cat "$dir/provider.log" >&2
    die "the provider did not start"
  }
  TF_REATTACH_PROVIDERS=$(grep -o '{"\(registry.terraform.io/\)\?hashicorp/aws":.*}' "$dir/provider.log")
  export TF_REATTACH_PROVIDERS
}

# tf_test MODULE [ARGUMENT…]: a module's tests, which validate it too, with the provider that tf_serve has started.
tf_test() {
  local module=$1
  shift
  tf_local_state "$module"
  tf "$module" init -no-color >"$module/init.log" 2>&1 || {
    cat "$module/init.log" >&2
    die "terraform init failed in $module"
  }
  tf "$module" test -no-color "$@" >&2 || die "terraform test failed in $module"
}

# tf_check: format, validity and tests of every module and environment, and of what the emulators get. No AWS account, no emulator.
tf_check() (
  copy=$LOCAL/terraform-check
  tf "$ROOT" fmt -check -diff -recursive infra >&2 || die "format them: terraform fmt -recursive infra"
  tf "$ROOT" fmt -check -diff -recursive localstack >&2 || die "format them: terraform fmt -recursive localstack"
  rm -rf "$copy"
  tf_copy localstack/terraform "$copy"
  tf_copy_roots "$copy"
  say "terraform validate: localstack/terraform …"
  tf_init "$copy/localstack/terraform"
  tf "$copy/localstack/terraform" validate -no-color >&2 || die "terraform validate failed in localstack/terraform"
  trap 'stop_process provider "$copy"' EXIT
  tf_serve "$copy" "$(find -L "$copy/localstack/terraform/.terraform" -name 'terraform-provider-aws_v*')" -debug
  for module in "$copy"/infra/modules/*/ $(tf_roots | sed "s|.*|$copy/&/|"); do
    say "terraform test: ${module#"$copy/"} …"
    tf_test "$module"
  done
)

# tf_policy: what checkov has to say of infra/. Each thing that it is not to say has its reason: in infra/.checkov.yaml, or where it applies.
tf_policy() {
  ensure_venv checkov checkov==3.2.497
  say "checkov: infra …"
  BC_SKIP_MAPPING=TRUE LOG_LEVEL=ERROR "$LOCAL/tools/checkov/bin/checkov" --config-file "$ROOT/infra/.checkov.yaml" --directory "$ROOT/infra" >&2 ||
    die "checkov found something: mend it, or skip it where it applies with its reason (# checkov:skip=ID:reason)"
}
