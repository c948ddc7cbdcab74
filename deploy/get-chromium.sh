#!/usr/bin/env bash
# Installs Chromium for the browser tests, where it can: as root on a machine with apt-get.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "There is no Chromium here, and only root on Debian or Ubuntu can have it installed by this command"
  exit 1
fi
echo "Installing Chromium for the browser tests (Debian's package) ..."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends chromium fonts-liberation >/dev/null
