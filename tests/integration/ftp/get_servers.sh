#!/bin/sh
# Fetch the FTP servers of other people that test_ftp_foreign.py looks for into the folder $1, on Debian or Ubuntu.
# Their packages exclude each other, so they are unpacked there, not installed. Then set DSGO_FTP_SERVERS=$1.
set -eu
mkdir -p "$1/packages"
cd "$1/packages"
servers="vsftpd proftpd-core proftpd-mod-crypto pure-ftpd pure-ftpd-common"
libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances $servers | grep -E '^lib(hiredis|memcached|memcachedutil|hashkit|pcre2-posix|wrap)[0-9]*' | sort -u)
apt-get download $servers $libraries
for package in *.deb; do dpkg -x "$package" ..; done
