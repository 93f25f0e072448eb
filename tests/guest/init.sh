#!/bin/busybox sh
# The guest's init: once in its memory, to mount the machine's root, and once
# more in there, to run the program that is wanted and to switch the guest off.
bb=/bin/busybox

if [ "$1" != tests ]; then
    $bb mount -t proc proc /proc
    $bb mount -t sysfs sysfs /sys
    $bb mount -t devtmpfs dev /dev
    while read -r module; do
        $bb insmod "/modules/$module"
    done </modules/order
    $bb mount -t tmpfs -o size=60% upper /upper
    $bb mkdir /upper/new /upper/work
    # cache=loose: nobody writes to the machine's root meanwhile.
    $bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro root /lower
    $bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/new,workdir=/upper/work root /root
    for folder in dev proc sys; do
        $bb mount --move "/$folder" "/root/$folder"
    done
    # switch_root empties the memory's root: this script has to come along.
    $bb cp /init /root/.kickstage-init
    exec $bb switch_root /root $bb sh /.kickstage-init tests </root/dev/console >/root/dev/console 2>&1
fi

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Not over /tmp: the programs under test may be there.
export TMPDIR=/.kickstage-tmp
$bb mkdir $TMPDIR
for folder in $TMPDIR /run; do
    $bb mount -t tmpfs tmpfs $folder
done
$bb mkdir -p /dev/pts /dev/shm
# As udev does. TOMOYO of Linux 5.10 looks for what execveat(2) is given there.
$bb ln -s /proc/self/fd /dev/fd
$bb mount -t devpts devpts /dev/pts
$bb mount -t tmpfs shm /dev/shm
$bb mount -t cgroup2 cgroup2 /sys/fs/cgroup
$bb ip link set lo up
$bb stty -F /dev/console -opost
echo "guest: Linux $($bb uname -r)"
IFS=,
# shellcheck disable=SC2086 # Words with commas between them.
"$KICKSTAGE_IN_GUEST" $KICKSTAGE_GUEST_WORDS
echo "guest: code $?"
exec $bb poweroff -f
