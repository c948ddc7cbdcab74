"""Which network addresses are safe to use without TLS: those of this machine alone."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether a host's name or number is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_protected(address: str) -> bool:
    """Return whether a URL is for TLS; on this machine alone it need not be."""
    try:
        parts = urlsplit(address)
    except ValueError:  # no URL at all
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
