"""Connecting to a receiver, and to nothing that its name was turned into meanwhile.

A name is looked up once, each address is judged, and the connection goes to the address that was
judged: a name that points elsewhere a moment later (DNS rebinding) changes nothing. TLS still checks
the name.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore

from app.webhooks.endpoints import Endpoint, WebhooksError

_ALLOTTED = ip_network("2000::/3")
"""All of IPv6 that is given to anybody on the public internet. What is outside of it can be a wrapped IPv4
address, which a gateway turns into a private one, or a site's own."""
_DOCUMENTATION = ip_network("3fff::/20")
"""Too new for Python 3.11 to know."""


class DestinationError(Exception):
    """The receiver's name leads to an address that events are not sent to."""


class JudgedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to addresses that may be reached, and to no other."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host. Raises DestinationError if one is not allowed."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as err:
            raise httpcore.ConnectError(f"the name of the receiver is not known: {err}") from err
        addresses = [str(each[4][0]) for each in found]
        if not self._private:
            for address in addresses:
                if not is_public(address):
                    raise DestinationError(
                        "the receiver is at a private address: say private: true if it should be"
                    )
        return await self._inner.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )

    async def sleep(self, seconds: float) -> None:
        """Sleep; the library asks its backend."""
        await self._inner.sleep(seconds)


def is_public(address: str) -> bool:
    """Return whether an address is one of the public internet, also seen through IPv6's wrappings."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner: IPv4Address | None = found.ipv4_mapped or found.sixtofour
        if inner is not None:
            return is_public(str(inner))
        if found.teredo is not None or found not in _ALLOTTED or found in _DOCUMENTATION:
            return False
    return found.is_global and not found.is_multicast


def pool_of(endpoint: Endpoint) -> httpcore.AsyncConnectionPool:
    """Return the connections to one receiver. Raises WebhooksError for certificates that are none."""
    context = ssl.create_default_context()
    if endpoint.ca_file is not None:
        try:
            context.load_verify_locations(endpoint.ca_file)
        except OSError as err:
            raise WebhooksError(f"endpoint {endpoint.name}: cannot use its ca_file") from err
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=1,
        keepalive_expiry=30,
        network_backend=JudgedBackend(private=endpoint.private),
    )
