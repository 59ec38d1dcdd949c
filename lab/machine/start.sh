# The first process of every machine of the lab: shields the host's kernel settings, gives the machine its identity, becomes systemd.
# Called as: sh -c TEXT start ADDRESS-OF-GATEWAY
set -eu
gateway=$1

# Kernel settings that are not per network namespace belong to the host. The machine gets private copies before anything can write them.
for tree in /proc/sys/*; do
  [ "$tree" != /proc/sys/net ] || continue
  mkdir -p /run/shield
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec shield /run/shield
  cp -R --preserve=mode "$tree/." /run/shield 2>/dev/null || true
  if [ -d "$tree/random" ]; then
    mkdir -p /run/random
    mount --bind "$tree/random" /run/random
  fi
  mount --bind /run/shield "$tree"
  umount /run/shield
  if [ -d "$tree/random" ]; then
    mount --bind /run/random "$tree/random"
    mount -o remount,bind,ro "$tree/random"
    umount /run/random
    rmdir /run/random
  fi
  rmdir /run/shield
done
pages=/sys/kernel/mm/transparent_hugepage
if [ -d "$pages" ]; then
  mkdir -p /run/shield
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec shield /run/shield
  cp -R --preserve=mode "$pages/." /run/shield 2>/dev/null || true
  mount --bind /run/shield "$pages"
  umount /run/shield
  rmdir /run/shield
fi
# So does the kernel's log: journald would copy it into every machine's journal.
mount --bind /dev/null /dev/kmsg
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger

# What podman puts over files that are the machine's own.
for place in /etc/hostname /etc/resolv.conf /var/log/journal; do
  umount "$place" 2>/dev/null || true
done

if [ ! -e /etc/ssh/ssh_host_ed25519_key ]; then
  hostname >/etc/hostname
  echo '# The fleet has no name server; its names are in /etc/hosts.' >/etc/resolv.conf
  chmod 0644 /etc/hostname /etc/resolv.conf
  cp /run/identity/machine-id /etc/machine-id
  chmod 0444 /etc/machine-id
  install -o ansible -g ansible -m 0600 /run/identity/authorized_keys /home/ansible/.ssh/authorized_keys
  rm -f /etc/apt/sources.list
  install -d -m 0755 /etc/apt/sources.list.d
  install -m 0644 /run/identity/debian.sources /etc/apt/sources.list.d/debian.sources
  install -m 0644 /run/identity/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_ed25519_key.pub
  install -m 0600 /run/identity/ssh_host_ed25519_key /etc/ssh/.new_key
  mv /etc/ssh/.new_key /etc/ssh/ssh_host_ed25519_key
fi
umount -l /run/identity
rmdir /run/identity

# Nothing is forwarded on this network, but programs that look for a default route find one.
ip route replace default via "$gateway"

# As the kernel's own init has it, and systemd in a container has not: what systemd mounts for a service is seen outside of the process
# that mounts it. Without it LoadCredential= gives a service nothing.
mount --make-rshared /

# Without the capabilities to set the clock, to load kernel modules and to write to ports and memory of the hardware.
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio /sbin/init
