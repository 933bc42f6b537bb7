#!/bin/sh
# Fetch the FTP servers of other people that the tests start, into the folder $1 (.cache/ftp-servers of the checkout by
# default, where the tests look for them; else name it in DSGO_FTP_SERVERS). On Debian or Ubuntu, as root, once.
# Their packages exclude each other, so they and the libraries that the system lacks are unpacked, not installed.
set -eu
folder=${1:-$(dirname "$(realpath "$0")")/../../../.cache/ftp-servers}
[ ! -e "$folder/complete" ] || exit 0

rm -rf "$folder"
mkdir -p "$folder/packages/partial"
folder=$(realpath "$folder")
apt-get update -qq
for server in vsftpd "proftpd-core proftpd-mod-crypto" pure-ftpd; do
  # shellcheck disable=SC2086 - several packages
  apt-get install -qq --yes --reinstall --download-only --no-install-recommends \
    -o "Dir::Cache::archives=$folder/packages" $server
done
for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder"; done
rm -r "$folder/packages"
touch "$folder/complete"
