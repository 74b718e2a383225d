# shellcheck shell=bash
# Sourced after common.sh: background processes, each in a session of its own so that stopping one stops its children too.

# start_process NAME DIR COMMAND…: starts it with its output in DIR/NAME.log and its id in DIR/NAME.pid.
start_process() {
  local name=$1 dir=$2
  shift 2
  mkdir -p "$dir"
  # Closing 9 keeps the child from holding the lock of with_lock for as long as it lives.
  setsid "$@" >"$dir/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$dir/$name.pid"
  disown
}

# process_runs NAME DIR
process_runs() {
  local pid
  pid=$(cat "$2/$1.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null
}

# stop_process NAME DIR: ends the whole group, first politely; nothing to do is fine.
stop_process() {
  local name=$1 dir=$2 pid
  process_runs "$name" "$dir" || {
    rm -f "$dir/$name.pid"
    return 0
  }
  pid=$(cat "$dir/$name.pid")
  kill -TERM -- "-$pid" 2>/dev/null || true
  if ! wait_until 10 group_is_gone "$pid"; then
    say "$name does not stop by itself: killing it"
    kill -KILL -- "-$pid" 2>/dev/null || true
  fi
  rm -f "$dir/$name.pid"
}

group_is_gone() { ! kill -0 -- "-$1" 2>/dev/null; }

# with_lock FILE COMMAND…: one at a time on this machine, waiting up to ten minutes.
with_lock() {
  local file=$1
  shift
  mkdir -p "$(dirname "$file")"
  (
    flock -w 600 9 || die "somebody else holds $file for ten minutes; remove it if nothing runs"
    "$@"
  ) 9>"$file"
}
