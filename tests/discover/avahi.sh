#!/bin/sh
# avahi.sh NAME FOLDER: D-Bus and avahi-daemon of a machine called NAME, with FOLDER as /etc/avahi.
# Runs in namespaces of its own (mount, hostname, processes), so the machine's own avahi is not met.
set -eu
hostname "$1"
mount --bind "$2" /etc/avahi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/dbus
dbus-daemon --system --fork --nopidfile
# Not exec: changing its user, avahi-daemon would lose the signal of unshare --kill-child. This
# shell is the namespace's first process: when it is killed, all the others are.
avahi-daemon
exit
