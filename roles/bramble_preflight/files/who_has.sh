#!/bin/bash
# Tell the hardware address of who answers for an address on the LAN, unless it is this node, and those
# of this node.
#   who_has.sh ADDRESS
set -u
if [ -z "$(ip -4 -oneline address show to "$1")" ]; then
    ip neighbour flush to "$1" >/dev/null 2>&1
    echo >"/dev/udp/$1/9" 2>/dev/null # the kernel has to ask for it first
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        found=$(ip neighbour show to "$1" | sed -n 's/.* lladdr \([0-9a-f:]*\).*/\1/p')
        [ -n "$found" ] && break
        sleep 0.1
    done
fi 2>/dev/null
[ -z "${found-}" ] || echo "owner $found"
ip -oneline link | sed -n 's/.* link\/ether \([0-9a-f:]*\).*/mine \1/p'
