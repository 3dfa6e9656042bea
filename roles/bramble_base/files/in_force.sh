#!/bin/sh
# Name what the files of bramble_base ask for and the system does not do: other programs may have
# changed it since, or a run was cut off before its handlers. Prints a sentence each; changes nothing.
#   in_force.sh IS-CONTAINER ARE-UPDATES-WANTED [KERNEL-SETTING=VALUE...]
container=$1 updates=$2
shift 2

for setting in "$@"; do
    [ "$container" = True ] && break # it has its machine's kernel
    name=${setting%%=*}
    value=$(sysctl --values "$name" 2>/dev/null | tr -s '[:space:]' ' ')
    [ "${value% }" = "${setting#*=}" ] || echo "$name is ${value% }, not ${setting#*=}"
done

file=/etc/systemd/journald.conf.d/bramble.conf
since=$(systemctl show --property=ExecMainStartTimestamp --value --timestamp=us+utc systemd-journald.service)
if [ -n "$since" ] && [ -n "$(find "$file" -newermt "$since" 2>/dev/null)" ]; then
    echo "the journal runs since before $file was written"
fi

if [ -x /usr/local/sbin/bramble-tune ]; then
    /usr/local/sbin/bramble-tune check 2>/dev/null
fi

if [ "$updates" = True ]; then
    for timer in apt-daily.timer apt-daily-upgrade.timer; do
        systemctl is-active --quiet "$timer" || echo "$timer is off"
    done
fi

if [ "$container" != True ]; then
    clients="systemd-timesyncd.service chrony.service chronyd.service ntpsec.service ntp.service"
    # shellcheck disable=SC2086
    systemctl is-active --quiet $clients || echo "no time client runs"
fi
exit 0
