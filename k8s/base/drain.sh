#!/bin/sh
# Before a head goes: end its sweeps in order, as SIGTERM does, and wait until they have. Without this Ray would end at
# once and take the drivers along; the sweeps would go on from their last checkpoints all the same.
set -u

drivers() {
  for process in /proc/[0-9]*; do
    # shellcheck disable=SC2046  # the words, one by one
    set -- $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) - - -
    case "$1 $2 $3" in
      *python*" -m lca_sweep" | *python*" "*/lca-sweep" "*) echo "${process#/proc/}" ;;
    esac
  done
}

for driver in $(drivers); do
  kill -TERM "$driver" 2>/dev/null
done
# the kubelet ends the wait, after terminationGracePeriodSeconds
while [ -n "$(drivers)" ]; do
  sleep 1
done
