# shellcheck shell=bash
# Sourced by harden: files that a part wants (below STAGE), those that are there (below ROOT), those that were (below STATE).

# is_chroot: this process has another root than the first one of its system (or container).
is_chroot() { ! [[ /proc/1/root/. -ef /. ]]; }

# load_options, save_options: --ssh-from and --ports, as of the last apply unless they are given.
load_options() {
  local name value port
  if [[ -f $STATE/options ]]; then
    while IFS='=' read -r name value; do
      case $name in
        ssh_from) SSH_FROM=${SSH_FROM:-$value} ;;
        ports) PORTS=${PORTS:-$value} ;;
      esac
    done <"$STATE/options"
  fi
  PORTS=${PORTS:-8443}
  [[ $PORTS =~ ^[0-9]{1,5}(,[0-9]{1,5})*$ ]] || die "--ports takes numbers with commas, like 8443,443, not '$PORTS'"
  for port in ${PORTS//,/ }; do ((10#$port > 0 && 10#$port < 65536)) || die "--ports: no port is $port"; done
  [[ -z $SSH_FROM || $SSH_FROM =~ ^[0-9a-fA-F.:/,]+$ ]] ||
    die "--ssh-from takes networks with commas, like 192.0.2.0/24,2001:db8::/48, not '$SSH_FROM'"
}

save_options() {
  mkdir -p "$STATE"
  chmod 700 "$STATE"
  printf 'ssh_from=%s\nports=%s\n' "$SSH_FROM" "$PORTS" >"$STATE/options"
}

# stage PART PATH: standard input is what that file shall contain.
stage() {
  mkdir -p "$STAGE/$1${2%/*}"
  cat >"$STAGE/$1$2"
}

# stage_link PART PATH TARGET: a link that is there already stays as it is.
stage_link() {
  mkdir -p "$STAGE/$1${2%/*}"
  ln -s "$(readlink "$ROOT$2" || echo "$3")" "$STAGE/$1$2"
}

# filled FILE NAME=VALUE…: the file with each @NAME@ replaced.
filled() {
  local text pair
  text=$(<"$1")
  for pair in "${@:2}"; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
  printf '%s\n' "$text"
}

# staged PART: paths of what it wants.
staged() { [[ ! -d $STAGE/$1 ]] || (cd "$STAGE/$1" && find . -type f -o -type l) | sed 's/^\.//' | sort; }

# same A B: both are the same link, or files with the same bytes.
same() {
  if [[ -L $1 || -L $2 ]]; then
    [[ -L $1 && -L $2 && $(readlink "$1") == "$(readlink "$2")" ]]
  else
    cmp -s "$1" "$2"
  fi
}

# differing PART: paths that are not as it wants them.
differing() {
  local path
  staged "$1" | while read -r path; do same "$STAGE/$1$path" "$ROOT$path" || echo "$path"; done
}

# changes OLD NEW NAME: a diff for people; either may be missing.
changes() {
  local old=$1 new=$2
  if [[ -L $1 || -L $2 ]]; then
    [[ ! -L $1 ]] || echo "- $3 -> $(readlink "$1")"
    [[ ! -L $2 ]] || echo "+ $3 -> $(readlink "$2")"
    return
  fi
  [[ -e $old ]] || old=/dev/null
  [[ -e $new ]] || new=/dev/null
  diff -u --label "$3 (now)" --label "$3 (then)" "$old" "$new" || true
}

show_plan() {
  local path
  printf '== %s\n' "$1"
  differing "$1" | while read -r path; do changes "$ROOT$path" "$STAGE/$1$path" "$path"; done
  "$1_differs" | columns
  "$1_notes"
}

# report_files PART: a line of the table for each file that is not as it should be.
report_files() {
  local path
  differing "$1" | while read -r path; do
    if [[ ! -e $ROOT$path && ! -L $ROOT$path ]]; then
      printf '%s\t%s\tmissing\tas apply writes it\n' "$1" "$path"
    else
      printf '%s\t%s\t%s lines differ\tas apply writes it\n' "$1" "$path" \
        "$(changes "$ROOT$path" "$STAGE/$1$path" x | grep -c '^[-+][^-+]')"
    fi
  done
}

# columns: a table of lines with tabs.
columns() {
  awk -F '\t' '
    { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
    END { for (n = 1; n <= NR; n++) printf "%-*s  %-*s  %-*s  %s\n", width[1], cell[n, 1], width[2], cell[n, 2], width[3], cell[n, 3], cell[n, 4] }'
}

# keep_aside PATH: a file that somebody changed by hand is not lost when it is replaced.
keep_aside() {
  mkdir -p "$STATE/saved${1%/*}"
  cp -a "$ROOT$1" "$STATE/saved$1"
  say "$1 had other changes; a copy is in $STATE/saved$1"
}

# install_staged PART: what was there before the first apply is kept, and then replaced as a whole.
install_staged() {
  local path old=$STATE/$1/before new=$STATE/$1/installed
  mkdir -p "$old" "$new"
  # Another apply may want other files: what it wants no more is put back.
  while read -r path; do
    [[ -e $STAGE/$1$path || -L $STAGE/$1$path ]] || restore_file "$1" "$path"
  done < <(managed "$1")
  while read -r path; do
    if ! managed "$1" | grep -qxF -- "$path"; then
      if [[ -e $ROOT$path || -L $ROOT$path ]]; then
        mkdir -p "$old${path%/*}"
        cp -a "$ROOT$path" "$old$path"
      fi
      echo "$path" >>"$STATE/$1/paths"
    elif [[ $path != "$HOSTS_OWN" && -e $ROOT$path ]] && ! same "$new$path" "$ROOT$path"; then
      keep_aside "$path"
    fi
    make_folders "$1" "${path%/*}"
    replace "$STAGE/$1$path" "$ROOT$path"
    mkdir -p "$new${path%/*}"
    cp -a --remove-destination "$STAGE/$1$path" "$new$path"
  done < <(differing "$1")
}

# replace FROM TO: in one step, with the owner and mode of what was there.
replace() {
  local new
  new=$(mktemp -u "$2.XXXXXX")
  cp -a --remove-destination "$1" "$new"
  if [[ ! -L $1 ]]; then
    chmod 644 "$new"
    if [[ -f $2 ]]; then
      chmod --reference="$2" "$new"
      chown --reference="$2" "$new"
    fi
  fi
  mv -fT "$new" "$2"
}

# managed PART: the paths that it changed.
managed() { [[ ! -f $STATE/$1/paths ]] || cat "$STATE/$1/paths"; }

# make_folders PART PATH: and remember those that were not there.
make_folders() {
  [[ -n $2 && ! -d $ROOT$2 ]] || return 0
  make_folders "$1" "${2%/*}"
  mkdir -m 755 "$ROOT$2"
  echo "$2" >>"$STATE/$1/folders"
}

# previous PART PATH: the file that undo puts in its place. A file of the host's own that has changed since loses our line only.
previous() {
  local own=$STAGE/undo$2
  if [[ $2 == "$HOSTS_OWN" && -f $ROOT$2 ]] && ! same "$STATE/$1/installed$2" "$ROOT$2"; then
    mkdir -p "${own%/*}"
    grep -vxFf <(diff "$STATE/$1/before$2" "$STATE/$1/installed$2" | sed -n 's/^> \(.\)/\1/p') "$ROOT$2" >"$own" || true
    echo "$own"
  else
    echo "$STATE/$1/before$2"
  fi
}

show_undo() {
  local path
  printf '== %s\n' "$1"
  managed "$1" | while read -r path; do changes "$ROOT$path" "$(previous "$1" "$path")" "$path"; done
}

restore_file() {
  local before
  before=$(previous "$1" "$2")
  if [[ $before == "$STAGE"/* ]]; then
    replace "$before" "$ROOT$2"
  else
    if [[ -e $ROOT$2 ]] && ! same "$STATE/$1/installed$2" "$ROOT$2"; then keep_aside "$2"; fi
    if [[ -e $before || -L $before ]]; then
      cp -a --remove-destination "$before" "$ROOT$2"
    else
      rm -f "$ROOT$2"
    fi
  fi
  sed -i "\#^$2\$#d" "$STATE/$1/paths"
}

# restore PART: files as they were, and no folder that was not there, unless somebody else uses it now.
restore() {
  local path
  while read -r path; do restore_file "$1" "$path"; done < <(managed "$1")
  if [[ -f $STATE/$1/logs ]]; then
    while read -r path; do [[ -s $ROOT$path ]] || rm -f "$ROOT$path"; done <"$STATE/$1/logs"
  fi
  [[ -f $STATE/$1/folders ]] || return 0
  tac "$STATE/$1/folders" | while read -r path; do
    [[ ! -d $ROOT$path ]] || rmdir --ignore-fail-on-non-empty "$ROOT$path"
  done
}
