# shellcheck shell=bash
# Sourced after python.sh: independent judges of what we issue, from PyPI, below .local/tools/judges.

# pkilint checks certificates and CRLs against RFC 5280 and its successors.
JUDGES_PACKAGES=(pkilint==0.13.3)

# judges_dir: installs the judges once and prints the folder with their commands; tests want it as SIGNET_JUDGES.
judges_dir() {
  ensure_venv judges "${JUDGES_PACKAGES[@]}"
  echo "$LOCAL/tools/judges/bin"
}
