#!/usr/bin/env bash
# A real S3 server for tests and CI: Ceph's gateway over one in-memory disk, on loopback. Nothing in it is kept.
#
#   eval "$(infra/s3/rgw.sh up)"    starts it (about 2 s) and exports endpoint and keys
#   infra/s3/rgw.sh down            stops it and removes its folder
#
# Debian packages: radosgw ceph-mon ceph-osd curl. Environment:
#   IACA_RGW_DIR       folder of its state and logs (default ${TMPDIR:-/tmp}/iaca-rgw-$UID); one server per folder
#   IACA_RGW_PORT      of the S3 endpoint (default 7480)
#   IACA_RGW_MON_PORT  of Ceph's monitor (default: the endpoint's + 1)
#   IACA_RGW_OWNER     process id whose end stops the server (default: none)
#   IACA_RGW_BYTES     it can hold (default 2 GiB)
set -euo pipefail

dir=${IACA_RGW_DIR:-${TMPDIR:-/tmp}/iaca-rgw-$UID}
port=${IACA_RGW_PORT:-7480}
mon_port=${IACA_RGW_MON_PORT:-$((port + 1))}
endpoint=http://127.0.0.1:$port
key=iaca-test secret=iaca-test-secret
daemons=(radosgw ceph-osd ceph-mon) # in the order of stopping: the gateway waits for ever on a disk that went away
export CEPH_CONF=$dir/ceph.conf

fail() {
  echo "rgw.sh: $*" >&2
  tail -n 5 "$dir"/log/* >&2 2>/dev/null || true
  down
  exit 1
}

runs() { # DAEMON PID: whether that process still is this daemon, of this folder; not a zombie, nor another program since
  tr '\0' ' ' <"/proc/$2/cmdline" 2>/dev/null | grep -qF -- "$1 --conf $dir/"
}

down() {
  local daemon pid
  for daemon in "${daemons[@]}"; do
    pid=$(cat "$dir/$daemon.pid" 2>/dev/null) || continue
    runs "$daemon" "$pid" || continue
    kill -9 "$pid"
    while runs "$daemon" "$pid"; do sleep 0.05; done
  done
  rm -rf "$dir"
}

configure() {
  mkdir -p "$dir"/{mon,osd,log}
  cat >"$CEPH_CONF" <<CONF
[global]
fsid = $(uuid)
mon host = v2:127.0.0.1:$mon_port
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = $dir/keyring
log file = $dir/log/\$name.log
admin socket =
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.05
ms bind retry delay = 0
[mon.a]
mon data = $dir/mon
pid file = $dir/ceph-mon.pid
[osd.0]
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = ${IACA_RGW_BYTES:-2147483648}
pid file = $dir/ceph-osd.pid
[client.rgw.a]
rgw data = $dir
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw relaxed region enforcement = true
pid file = $dir/radosgw.pid
CONF
}

uuid() { cat /proc/sys/kernel/random/uuid; }

allow() { # NAME CAPABILITY...: a new key in the keyring
  local name=$1 create=() capability
  shift
  [[ -e $dir/keyring ]] || create=(--create-keyring)
  for capability; do set -- "$@" --cap "${capability%%:*}" "${capability#*:}"; shift; done
  ceph-authtool "$dir/keyring" "${create[@]}" --gen-key -n "$name" "$@"
}

start() {
  local disk
  allow mon. 'mon:allow *'
  allow client.admin 'mon:allow *' 'osd:allow *'
  allow osd.0 'mon:allow profile osd' 'osd:allow *'
  allow client.rgw.a 'mon:allow rw' 'osd:allow rwx'
  monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$CEPH_CONF")" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap"
  ceph-mon --conf "$CEPH_CONF" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon --conf "$CEPH_CONF" -i a
  disk=$(uuid)
  timeout 30 ceph osd new "$disk"
  ceph-osd --conf "$CEPH_CONF" -i 0 --mkfs --osd-uuid "$disk"
  ceph-osd --conf "$CEPH_CONF" -i 0
  radosgw --conf "$CEPH_CONF" -n client.rgw.a
  curl --silent --output /dev/null --retry 100 --retry-delay 1 --retry-all-errors --retry-max-time 60 "$endpoint"
  radosgw-admin user create --uid=test --display-name=test --access-key="$key" --secret-key="$secret"
}

up() {
  local program
  for program in radosgw radosgw-admin ceph-mon ceph-osd ceph curl; do
    command -v "$program" >/dev/null || fail "$program is missing: apt-get install radosgw ceph-mon ceph-osd curl"
  done
  down # an earlier one of this folder
  ! curl --silent --output /dev/null "$endpoint" || fail "something already listens on $endpoint: set IACA_RGW_PORT"
  configure
  start >"$dir/log/start.log" 2>&1 </dev/null & # in the background because `start || fail` would switch off set -e in it
  wait $! || fail "the server did not start; the last lines of its logs:"
  if [[ -n ${IACA_RGW_OWNER:-} ]]; then
    (tail --pid="$IACA_RGW_OWNER" -f /dev/null && down) >/dev/null 2>&1 </dev/null &
  fi
  printf 'export %s\n' AWS_ENDPOINT_URL="$endpoint" AWS_ACCESS_KEY_ID="$key" AWS_SECRET_ACCESS_KEY="$secret"
}

case ${1:-} in
  up | down) "$1" ;;
  *) echo "usage: $0 up|down" >&2 && exit 2 ;;
esac
