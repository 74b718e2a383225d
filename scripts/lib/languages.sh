# shellcheck shell=bash
# Sourced after process.sh, python.sh and cargo.sh: the examples in other languages, installed and built below .local/tools.
# After `languages_ready`, `worker LANGUAGE ARGUMENT…` runs the one in that language.

# shellcheck disable=SC2034 # for the scripts that source this
LANGUAGES=(python node java)
# What Java needs from Debian: package and a file of it.
JAVA_PACKAGES=(default-jdk-headless:/usr/bin/javac protobuf-compiler:/usr/bin/protoc
  libprotobuf-dev:/usr/include/google/protobuf/timestamp.proto libprotobuf-java:/usr/share/java/protobuf.jar
  libgoogle-gson-java:/usr/share/java/gson.jar)
JARS=/usr/share/java/protobuf.jar:/usr/share/java/gson.jar
NODE_DIR=$LOCAL/tools/languages-node
JAVA_DIR=$LOCAL/tools/languages-java

languages_ready() {
  local entry
  ensure_locked_venv languages-python "$ROOT/examples/python/requirements.txt"
  with_lock "$LOCAL/tools/languages-node.lock" make_node_example
  for entry in "${JAVA_PACKAGES[@]}"; do need_debian "${entry%%:*}" "${entry#*:}"; done
  with_lock "$LOCAL/tools/languages-java.lock" make_java_example
}

# make_node_example: its packages by the lock file, whose digests npm checks, and the example beside them.
make_node_example() {
  local lock=$ROOT/examples/node/package-lock.json
  if ! cmp --quiet "$lock" "$NODE_DIR/installed.json"; then
    need npm "The example's packages come from the npm registry (Debian: apt-get install npm)."
    say "installing the Node.js example's packages (once) …"
    rm -rf "$NODE_DIR"
    mkdir -p "$NODE_DIR"
    cp "$ROOT"/examples/node/{package.json,package-lock.json} "$NODE_DIR"
    # Not by --prefix, where npm ci takes a symbolic link on the way for a package.
    (cd -P "$NODE_DIR" && npm_get ci)
    cp "$lock" "$NODE_DIR/installed.json"
  fi
  cp "$ROOT"/examples/node/*.mjs "$NODE_DIR"
}

# make_java_example: messages from the .proto files, then all classes, as examples/java/README.md says.
make_java_example() {
  local sum
  sum=$(cat "$ROOT"/examples/java/*.java "$ROOT"/proto/signet/v1/*.proto | sha256sum)
  [[ $(cat "$JAVA_DIR/built" 2>/dev/null) != "$sum" ]] || return 0
  rm -rf "$JAVA_DIR"
  mkdir -p "$JAVA_DIR"/{messages,classes}
  (cd "$ROOT/proto" && protoc --proto_path=. --proto_path=/usr/include --java_out="$JAVA_DIR/messages" signet/v1/*.proto)
  javac -Xlint:all -Werror -d "$JAVA_DIR/classes" -cp "$JARS" -sourcepath "$JAVA_DIR/messages" "$ROOT"/examples/java/*.java ||
    die "the Java example does not compile"
  echo "$sum" >"$JAVA_DIR/built"
}

# worker LANGUAGE ARGUMENT…: in place of this shell.
worker() {
  local language=$1
  shift
  export SIGNET_PROTO=$ROOT/proto
  case $language in
    python) exec "$LOCAL/tools/languages-python/bin/python" "$ROOT/examples/python/worker.py" "$@" ;;
    node) exec node "$NODE_DIR/worker.mjs" "$@" ;;
    java) exec java -cp "$JAVA_DIR/classes:$JARS" Worker "$@" ;;
    *) die "there is no example in '$language'" ;;
  esac
}
