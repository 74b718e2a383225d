# shellcheck shell=bash
# Sourced after common.sh, process.sh, python.sh and package.sh: whether Helm, Kubernetes and Docker Compose take what infra/ has for them.

# Helm's engine as a library, and Kubernetes' OpenAPI schemas.
KUBERNETES_PACKAGES=(helm-python-sdk==0.2.2 kubernetes-validate==1.37.0)

kubernetes() {
  ensure_venv kubernetes "${KUBERNETES_PACKAGES[@]}"
  "$LOCAL/tools/kubernetes/bin/python" "$ROOT/scripts/lib/kubernetes.py" "$@"
}

# check_deployments FOLDER: renders into it; signetd reads the configurations that come out.
check_deployments() {
  local bin name said status
  rm -rf "$1"
  mkdir -p "$1"
  kubernetes check "$1" "$(version)"
  bin=$(build_binaries)
  for name in sqlite aws; do
    status=0
    # What it wants to open is elsewhere; a configuration that it does not read is another failure.
    said=$(AWS_EC2_METADATA_DISABLED=true timeout 20 "$bin/signetd" --config "$1/$name/signet.toml" check 2>&1) || status=$?
    [[ $status == 1 || $status == 124 ]] || die "signetd does not take the chart's configuration ($name): $said"
  done
  need_debian docker-compose
  docker-compose --file "$ROOT/infra/compose.yaml" config >"$1/compose.yaml"
  grep -qF "signet:$(version)" "$1/compose.yaml" || die "infra/compose.yaml has another version than $(version)"
}
