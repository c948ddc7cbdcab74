#!/bin/sh
# Unpack Debian's prometheus package (prometheus and promtool) under .tools, without root and
# without installing it. The tests of the rules use it; they are skipped where it is missing.
set -eu
target="$(dirname "$0")/../../.tools"
[ -x "$target/usr/bin/promtool" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
  echo "no prometheus: this is no Debian; put prometheus and promtool on the PATH" >&2
  exit 1
}
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get download -qq prometheus 2>/dev/null || {
  # The lists of packages are not there yet: fetch them into a place of our own.
  mkdir -p lists/partial cache/archives/partial
  options="-o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache -o Debug::NoLocking=1"
  # shellcheck disable=SC2086  # several options
  apt-get $options -qq update && apt-get $options -qq download prometheus || {
    echo "no prometheus: Debian's package could not be fetched" >&2
    exit 1
  }
}
cd - >/dev/null
mkdir -p "$target"
dpkg-deb -x "$work"/prometheus_*.deb "$target"
