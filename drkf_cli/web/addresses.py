"""Who asks, and by which name: clients, hosts, origins."""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")


def client_of(address: str) -> str:
    """The client behind an address: the address itself; of IPv6 the network of 64 bits, which one client has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def is_proxy(address: str, trusted: Sequence[str]) -> bool:
    """Whether an address is among the trusted ones: addresses, networks, or `*`."""
    try:
        found = ipaddress.ip_address(address)
        return "*" in trusted or any(found in ipaddress.ip_network(one, strict=False) for one in trusted)
    except ValueError:
        return False


class Names:
    """The host names under which the page may be addressed, and the origins of other pages that may use it.

    Args:
        bound: the host that the server is bound to. Without `hosts`, the page has this name; bound to the whole
            machine, its name, all addresses and those of loopback.
        hosts: names that replace these; `*.example.org` takes any subdomain, `*` any name.
        origins: such as `https://example.org`.
    """

    def __init__(self, bound: str, hosts: Sequence[str] = (), origins: Sequence[str] = ()):
        self.origins = tuple(origins)
        own = {bound, *(LOOPBACK if bound in (*EVERYWHERE, *LOOPBACK) else ())}
        own |= {socket.gethostname().lower()} if bound in EVERYWHERE else set()
        self._hosts = tuple(host.lower() for host in hosts) or tuple(own - set(EVERYWHERE))
        self._takes_addresses = not hosts and bound in EVERYWHERE

    def knows(self, host: str) -> bool:
        """Whether a `Host` header, with or without a port, names this page."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if self._takes_addresses and is_proxy(name, "*"):
            return True
        return any(one in ("*", name) or (one.startswith("*.") and name.endswith(one[1:])) for one in self._hosts)

    def is_foreign(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a browser sends a request for a page of another origin that is not among the allowed ones."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin in self.origins:
            return False
        if site := headers.get(b"sec-fetch-site"):
            return site not in (b"same-origin", b"none")
        return bool(origin) and origin.partition("://")[2] != headers.get(b"host", b"").decode("latin-1")
