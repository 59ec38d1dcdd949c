#!/bin/sh
# Makes a machine of the lab out of a fresh root file system ($1); called by mmdebstrap. Its text is part of the image's digest.
set -eu
root=$1

# The account that Ansible uses: a key only, and sudo. No account has a password ("*" admits keys, "!" would make sshd refuse them).
chroot "$root" useradd --create-home --shell /bin/bash --password '*' ansible
chroot "$root" passwd --quiet --lock root
install -d -m 0700 "$root/home/ansible/.ssh"
chroot "$root" chown ansible:ansible /home/ansible/.ssh
echo 'ansible ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ansible"
chmod 0440 "$root/etc/sudoers.d/ansible"

# Identity is given at the first start: no two machines share a host key or a machine id.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"

# Units that would reach through a container into the kernel, the consoles or the file systems of the host.
for unit in \
  systemd-modules-load.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
  systemd-pstore.service systemd-vconsole-setup.service systemd-remount-fs.service systemd-udevd.service systemd-udev-trigger.service \
  systemd-random-seed.service systemd-hibernate-resume.service \
  getty@tty1.service console-getty.service getty.target systemd-ask-password-console.path systemd-ask-password-wall.path
do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
install -d -m 0755 "$root/etc/systemd/logind.conf.d"
printf '[Login]\nNAutoVTs=0\nReserveVT=0\n' >"$root/etc/systemd/logind.conf.d/lab.conf"

# The clock is the host's: without CAP_SYS_TIME chrony's own unit would not start at all, with -x it measures and serves, but sets nothing.
install -d -m 0755 "$root/usr/lib/systemd/system/chrony.service.d"
cat >"$root/usr/lib/systemd/system/chrony.service.d/50-lab.conf" <<'END'
[Unit]
ConditionCapability=
[Service]
ExecStart=
ExecStart=!/usr/sbin/chronyd -x $DAEMON_OPTS
END
