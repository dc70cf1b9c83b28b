#!/usr/bin/env bash
# Measures this crate beside its peers: every contender in its own process, in turn, against one
# receiver on loopback. benches/README.md tells what each figure means.
#
#   ./run.sh [all | build | check | arrives | alloc | hot | e2e | peak | web | redis | cg | logs | requests | scaling | report]...
#   (default: all, which is each of them but check and scaling)
#
# Results are added to $OUT; `all` starts afresh. `check` only proves that every mode works.
# Settings, by environment:
#   CONTENDERS  "NAME[:VARIANT]..."; the ratios of the report need floor:off, floor and otel
#   WORKS       "request tiny async deep wide"; of alloc and cg, also dynamic, many, list, callsites
#   LOGGERS     the same for the workload of log records (step logs)
#   ROUNDS      5      rounds of hot and e2e; every round runs each contender once
#   PEAK_ROUNDS 3      rounds of peak
#   UNITS       100000 requests of an e2e run, 5 spans each
#   SECONDS_FLAT_OUT 5 how long peak records
#   STACKS, REQUEST_WORKS  of step requests
#   WEB_ROUNDS  5      rounds of web; WEB_SECONDS 4 each
#   REDIS_ROUNDS 5     rounds of redis; REDIS_REQUESTS 200000 each
#   SCALING     the contenders of scaling; AXES "depth open fields late threads"
#   FIGURES     docs/scaling/figures.csv, where scaling puts its figures beside those of other contenders
#   LISTEN      127.0.0.1:0   where the receiver listens
#   OUT         $CARGO_TARGET_DIR/peers
# Needs cargo, python3, valgrind for cg, logs and scaling, curl, for web wrk, and for redis redis-benchmark. Nothing else
# may run beside hot, e2e, peak, web and redis; for the others it does not matter.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} PYTHONDONTWRITEBYTECODE=1
BIN=$CARGO_TARGET_DIR/release
OUT=${OUT:-$CARGO_TARGET_DIR/peers}
CONTENDERS=${CONTENDERS:-floor:off floor floor:visit tracing-otlp tracing-otlp:lean tracing-otlp:unsampled otel otel:lean fastrace fastrace-tracing fastrace-tracing:lean}
LOGGERS=${LOGGERS:-floor tracing-otlp:logs tracing-otlp:logs-only otel:logs otel:logs-only emit}
ROUNDS=${ROUNDS:-5}
PEAK_ROUNDS=${PEAK_ROUNDS:-3}
UNITS=${UNITS:-100000}
SECONDS_FLAT_OUT=${SECONDS_FLAT_OUT:-5}
WEB_MODES=${WEB_MODES:-none tower-floor tracing-otlp tracing-otlp-unsampled axum-otel tower-otel}
STACKS=${STACKS:-none tower-floor tower-unsampled sampled unsampled registry registry-unsampled}
REQUEST_WORKS=${REQUEST_WORKS:-plain caller axum client}
WEB_ROUNDS=${WEB_ROUNDS:-5}
WEB_SECONDS=${WEB_SECONDS:-4}
REDIS_MODES=${REDIS_MODES:-fmt tracing-otlp tracing-otlp-registry otel fastrace-tracing}
REDIS_ROUNDS=${REDIS_ROUNDS:-5}
REDIS_REQUESTS=${REDIS_REQUESTS:-200000}
SCALING=${SCALING:-floor tracing-otlp:lean tracing-otlp:registry otel:lean fastrace fastrace-tracing:lean}
AXES=${AXES:-depth open fields late threads}
FIGURES=${FIGURES:-$PWD/../../docs/scaling/figures.csv}
LISTEN=${LISTEN:-127.0.0.1:0}
# Where nothing may be lost, the queue is given room for a whole burst and more.
ROOM=16384
WORKS=${WORKS:-request tiny async deep wide}
mkdir -p "$OUT"
: >"$OUT/failed"

receiver=
address=
stop_receiver() {
  [ -n "$receiver" ] || return 0
  kill "$receiver" 2>/dev/null || true
  wait "$receiver" 2>/dev/null || true
  receiver=
}
start_receiver() {
  stop_receiver
  rm -f "$OUT/address"
  "$BIN/sink" --listen "$LISTEN" --address-file "$OUT/address" "$@" &
  receiver=$!
  for _ in $(seq 100); do
    if [ -s "$OUT/address" ]; then address=$(cat "$OUT/address"); return; fi
    sleep 0.1
  done
  echo "the receiver did not start" >&2
  exit 1
}
trap stop_receiver EXIT

# A server's address, in the file that it writes.
await() {
  for _ in $(seq 200); do
    [ ! -s "$1" ] || return 0
    sleep 0.05
  done
  return 1
}

say() { echo "$*" >&2; }
program() { echo "$BIN/peer-${1%%:*}"; }
variant() { case $1 in *:*) echo "${1#*:}" ;; esac; }
label() { echo "${1/:/-}"; }
exporting() { for c in $CONTENDERS; do case $c in floor*) ;; *) echo "$c" ;; esac; done; }

# measure CONTENDER MODE ARGS...: one process, one line in results.jsonl. A contender that fails,
# or whose ledger is wrong, does not stop the others; the script ends with 1.
measure() {
  local c=$1 mode=$2
  shift 2
  timeout 600 "$(program "$c")" "$mode" --label "$(label "$c")" --variant "$(variant "$c")" \
    --sink "$address" "$@" >>"$OUT/results.jsonl" 2>>"$OUT/stderr.log" \
    || echo "$c $mode $*" | tee -a "$OUT/failed" >&2
}

build() { # one at a time: no contender gets features that another asked for
  for c in $CONTENDERS $LOGGERS $SCALING; do echo "peer-${c%%:*}"; done | sort -u | while read -r package; do
    say "building $package"
    cargo build --release --locked --quiet --package "$package"
  done
  cargo build --release --locked --quiet --package sink
  cargo build --release --locked --quiet --package web
  cargo build --release --locked --quiet --package requests
  cargo build --release --locked --quiet --package redis
}

arrives() {
  say "what arrives"
  start_receiver --detail
  for c in $(exporting); do measure "$c" cg --work request --units 1000 --queue $ROOM; done
  stop_receiver
}

alloc() {
  say "allocations"
  start_receiver
  for c in $CONTENDERS; do
    for work in $WORKS; do measure "$c" alloc --work "$work" --queue $ROOM; done
  done
  stop_receiver
}

hot() {
  start_receiver
  for round in $(seq "$ROUNDS"); do
    say "hot, round $round of $ROUNDS"
    for c in $CONTENDERS; do
      measure "$c" hot --work request --threads 1 --round "$round"
      measure "$c" hot --work request --threads 2 --round "$round"
      measure "$c" hot --work tiny --threads 1 --round "$round"
      measure "$c" hot --work async --threads 2 --round "$round"
    done
  done
  stop_receiver
}

e2e() {
  start_receiver
  for round in $(seq "$ROUNDS"); do
    say "e2e, round $round of $ROUNDS"
    for c in $CONTENDERS; do
      measure "$c" e2e --work request --rate 50000 --units "$UNITS" --round "$round"
    done
  done
  stop_receiver
}

peak() {
  start_receiver
  for round in $(seq "$PEAK_ROUNDS"); do
    say "peak, round $round of $PEAK_ROUNDS"
    for c in $(exporting); do
      measure "$c" peak --work request --threads 2 --seconds "$SECONDS_FLAT_OUT" --round "$round"
    done
  done
  stop_receiver
}

# An axum server under wrk, 32 connections kept alive: what a request costs it, and how many it
# answers.
web() {
  start_receiver
  for round in $(seq "$WEB_ROUNDS"); do
    say "web, round $round of $WEB_ROUNDS"
    for mode in $WEB_MODES; do
      curl -s -X POST "http://$address/reset" >"$OUT/web.reset"
      rm -f "$OUT/web.address"
      "$BIN/web" "$mode" "http://$address" "$OUT/web.address" 2>>"$OUT/stderr.log" &
      local server=$! url
      await "$OUT/web.address" || { echo "web $mode" | tee -a "$OUT/failed" >&2; continue; }
      url=http://$(cat "$OUT/web.address")
      wrk -t1 -c32 -d1s "$url/api/v1/users/4711/orders" >"$OUT/web.warm"
      local before after
      before=$(curl -s "$url/cpu")
      wrk -t1 -c32 -d"${WEB_SECONDS}s" --latency "$url/api/v1/users/4711/orders" >"$OUT/web.wrk"
      after=$(curl -s "$url/cpu")
      kill "$server"
      wait "$server" || true
      python3 web.py line "$OUT" "$mode" "$round" "$((after - before))" \
        "$(curl -s "http://$address/counts")" >>"$OUT/web.jsonl" \
        || echo "web $mode" | tee -a "$OUT/failed" >&2
    done
  done
  stop_receiver
}

# The server of mini-redis under redis-benchmark, 50 connections kept alive, half SET and half GET: what the process
# spends from its start to the end of its pipeline, and how it answers.
redis() {
  start_receiver
  for round in $(seq "$REDIS_ROUNDS"); do
    say "redis, round $round of $REDIS_ROUNDS"
    for mode in $REDIS_MODES; do
      curl -s -X POST "http://$address/reset" >"$OUT/redis.reset"
      rm -f "$OUT/redis.address" "$OUT/redis.result"
      "$BIN/redis" "$mode" "http://$address" "$OUT/redis.address" "$OUT/redis.result" \
        >"$OUT/redis.lines" 2>>"$OUT/stderr.log" &
      local server=$! at
      await "$OUT/redis.address" || { echo "redis $mode" | tee -a "$OUT/failed" >&2; continue; }
      at=$(cat "$OUT/redis.address")
      timeout 300 redis-benchmark -h "${at%:*}" -p "${at##*:}" -t set,get -n $((REDIS_REQUESTS / 2)) -c 50 -r 10000 \
        --csv >"$OUT/redis.csv" 2>>"$OUT/stderr.log" || true
      kill "$server"
      wait "$server" || true
      python3 redis.py line "$OUT" "$mode" "$round" "$(curl -s "http://$address/counts")" >>"$OUT/redis.jsonl" \
        || echo "redis $mode" | tee -a "$OUT/failed" >&2
    done
  done
  stop_receiver
}

# What a span costs the recording threads while something grows. One run each: only what they do in `record_bursts`
# is counted, after a first burst.
scaling() {
  start_receiver
  rm -rf "$OUT/scaling"
  mkdir -p "$OUT/scaling"
  for c in $SCALING; do
    for axis in $AXES; do
      say "scaling, $c, $axis"
      case $axis in
        depth) grown "$c" depth deep --size ${DEPTHS:-1 10 100 1000} ;;
        open) grown "$c" open wide --size ${OPEN:-10 1000 100000 1000000} ;;
        fields) grown "$c" fields fields --size ${FIELDS:-0 2 8 16 32} ;;
        late) case $c in
          floor* | fastrace-tracing*) ;; # They have no call for it.
          *) grown "$c" late many --size ${LATE:-0 8 32 128} ;;
        esac ;;
        threads) grown "$c" threads request --threads ${THREADS:-1 2 4 8} ;;
        *) say "no axis $axis"; exit 2 ;;
      esac
    done
  done
  stop_receiver
  python3 scaling.py "$OUT/scaling" "$FIGURES"
}

grown() { # CONTENDER AXIS WORK OPTION VALUES...
  local c=$1 axis=$2 work=$3 option=$4 value file
  shift 4
  for value in "$@"; do
    file=$OUT/scaling/$(label "$c").$axis.$value
    timeout 1800 valgrind --tool=callgrind --separate-threads=yes --toggle-collect='harness::modes::record_bursts*' \
      --callgrind-out-file="$file.out" "$(program "$c")" scaling --label "$(label "$c")" --variant "$(variant "$c")" \
      --sink "$address" --work "$work" "$option" "$value" --units 1000 --queue $ROOM >"$file.json" 2>>"$OUT/stderr.log" \
      || echo "$c scaling $axis $value" | tee -a "$OUT/failed" >&2
  done
}

# Two sizes each: the report subtracts them, and with them all that is done once. What the recording
# thread does before the work is forgotten, for calibrating a clock takes a different time each run.
cg() {
  start_receiver
  for c in $CONTENDERS; do callgrind "$c" "$WORKS"; done
  stop_receiver
}

callgrind() { # CONTENDER WORKS
  local c=$1
  mkdir -p "$OUT/callgrind"
  say "callgrind, $c"
  for work in $2; do
    for units in 1000 3000; do
      local file amount=$units
      # 256 spans each.
      [ "$work" != callsites ] || amount=$((units / 25))
      file=$OUT/callgrind/$(label "$c").$work.$units
      rm -f "$file".*
      timeout 900 valgrind --tool=callgrind --separate-threads=yes --zero-before='harness::modes::fixed*' \
        --callgrind-out-file="$file.out" "$(program "$c")" cg --label "$(label "$c")" \
        --variant "$(variant "$c")" --sink "$address" --work "$work" --units "$amount" \
        --queue $ROOM >"$file.json" 2>>"$OUT/stderr.log" \
        || echo "$c callgrind $work $units" | tee -a "$OUT/failed" >&2
    done
  done
}

# Log records: the difference between `logs` and `quiet`, which has the same spans and no event, is theirs.
logs() {
  say "logs"
  start_receiver --detail
  for c in $LOGGERS; do
    case $c in floor*) continue ;; esac
    measure "$c" arrives --work logs --units 1000 --queue $ROOM
  done
  start_receiver
  for c in $LOGGERS; do
    for work in quiet logs; do measure "$c" alloc --work $work --queue $ROOM; done
  done
  for c in $LOGGERS; do callgrind "$c" "quiet logs"; done
  for round in $(seq "$PEAK_ROUNDS"); do
    say "logs, peak, round $round of $PEAK_ROUNDS"
    for c in $LOGGERS; do
      case $c in floor*) continue ;; esac
      measure "$c" peak --work logs --threads 2 --seconds "$SECONDS_FLAT_OUT" --round "$round"
    done
  done
  stop_receiver
}

# A request through middleware, without a socket: two sizes each, as in cg.
requests() {
  mkdir -p "$OUT/requests"
  start_receiver
  for stack in $STACKS; do
    say "requests, $stack"
    for work in $REQUEST_WORKS; do
      for units in 1000 3000; do
        local file=$OUT/requests/$stack.$work.$units.out
        rm -f "$file"*
        timeout 900 valgrind --tool=callgrind --separate-threads=yes --zero-before='requests::fixed*' \
          --callgrind-out-file="$file" "$BIN/requests" "$stack" "$work" "$units" "http://$address" \
          >>"$OUT/stderr.log" 2>&1 || echo "requests $stack $work $units" | tee -a "$OUT/failed" >&2
      done
    done
  done
  stop_receiver
}

report() {
  python3 report.py "$OUT"
  [ ! -s "$OUT/web.jsonl" ] || python3 web.py report "$OUT"
  [ ! -d "$OUT/requests" ] || python3 requests.py "$OUT/requests"
  [ ! -s "$OUT/redis.jsonl" ] || python3 redis.py report "$OUT"
}

check() {
  OUT=$OUT/check ROUNDS=1 PEAK_ROUNDS=1 UNITS=5000 SECONDS_FLAT_OUT=1 WEB_ROUNDS=1 WEB_SECONDS=1
  REDIS_ROUNDS=1 REDIS_REQUESTS=4000
  # A point of each axis, into figures that are thrown away.
  DEPTHS=10 OPEN=10 FIELDS=2 LATE=2 THREADS=2 FIGURES=$OUT/figures.csv
  mkdir -p "$OUT"
  clear_results
  arrives; alloc; hot; e2e; peak; web; redis; logs; scaling; report
}

clear_results() { for file in results.jsonl web.jsonl redis.jsonl stderr.log failed; do : >"$OUT/$file"; done; }

[ $# -gt 0 ] || set -- all
for step in "$@"; do
  case $step in
    all) build; clear_results; arrives; alloc; hot; e2e; peak; web; redis; cg; logs; requests; report ;;
    build | check | arrives | alloc | hot | e2e | peak | web | redis | cg | logs | requests | scaling | report) "$step" ;;
    *) say "no step $step; see the head of this script"; exit 2 ;;
  esac
done
if [ -s "$OUT/failed" ]; then
  say "failed, see $OUT/stderr.log:"
  cat "$OUT/failed" >&2
  exit 1
fi
