# shellcheck shell=sh
master=$(cat /run/nginx.pid) || exit 1
old=" $(pgrep --delimiter ' ' --parent "$master" --full 'worker process$') "
systemctl reload nginx.service || exit 1
tries=200
while [ "$tries" -gt 0 ]; do
  accepting=$(pgrep --parent "$master" --full 'worker process$')
  left=
  for worker in $accepting; do
    case $old in *" $worker "*) left=$worker ;; esac
  done
  [ -n "$accepting" ] && [ -z "$left" ] && exit 0
  tries=$((tries - 1))
  sleep 0.05
done
echo 'nginx did not take up the new configuration; it says why in /var/log/nginx/error.log' >&2
tail -n 5 /var/log/nginx/error.log >&2
exit 1
