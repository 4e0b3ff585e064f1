#!/bin/sh
# disk.report: says what it finds on stdout, and what is wrong on stderr. Nothing of Redpoll is needed for that.
set -eu

echo "job ${REDPOLL_JOB:-none}, on ${REDPOLL_AGENT:-this machine}"
df -P -k 2>/dev/null | awk '
    NR == 1 { next }
    { used = $5; sub("%", "", used); printf "%3d%%  %8d MiB free  %s\n", used, $4 / 1024, $6 }
    used + 0 >= 90 { print $6 " is " $5 " full" > "/dev/stderr" }
'
