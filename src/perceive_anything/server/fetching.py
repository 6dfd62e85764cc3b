"""Images from addresses, if their host is on the list: no private addresses, no surprises.

The name is looked up once, every address it has must be public, and the connection goes to the one
that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import SplitResult, urljoin, urlsplit

from perceive_anything.errors import RequestError
from perceive_anything.server.settings import ServerSettings

REDIRECTS = 3
PORTS = {"http": 80, "https": 443}


async def fetch(url: str, settings: ServerSettings) -> bytes:
    """The bytes behind an address.

    Args:
        url: http or https.
        settings: The list of hosts, and limits.

    Raises:
        RequestError: The host is not on the list or not public; or it gave no image in time.
    """
    try:
        async with asyncio.timeout(settings.fetch_timeout_s):
            for _ in range(1 + REDIRECTS):
                target = check_url(url, settings)
                found = await _get(url, await public_address(target), target, settings)
                if isinstance(found, bytes):
                    return found
                url = urljoin(url, found)
    except TimeoutError:
        raise _failed(url, f"it took more than {settings.fetch_timeout_s:g} s") from None
    raise _failed(url, "it only leads elsewhere")


def check_url(url: str, settings: ServerSettings) -> SplitResult:
    """The parts of an address that may be fetched.

    Raises:
        RequestError: It may not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(url, "it is malformed") from None
    if parts.scheme not in PORTS:
        raise _refused(url, "it is no http or https address")
    if parts.username is not None or parts.password is not None:
        raise _refused(url, "it holds a user name")
    if (parts.hostname or "").lower() not in {host.lower() for host in settings.allow_hosts}:
        raise _refused(url, "its host is not on the server's list")
    if port not in (None, PORTS[parts.scheme]):
        raise _refused(url, "its port is not the usual one")
    return parts


async def public_address(target: SplitResult) -> str:
    """The address of a host, if all that it has are public.

    Raises:
        RequestError: One is not, or there is none.
    """
    loop, url = asyncio.get_running_loop(), target.geturl()
    try:
        found = await loop.getaddrinfo(
            target.hostname, PORTS[target.scheme], type=socket.SOCK_STREAM
        )
    except OSError:
        raise _failed(url, "its host is not known") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not all(map(is_public, addresses)):
        raise _refused(url, "its host is in a private network")
    if not addresses:
        raise _failed(url, "its host has no address")
    return str(addresses[0])


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the public internet."""
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast


def literal(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


async def _get(
    url: str, address: str, target: SplitResult, settings: ServerSettings
) -> bytes | str:
    """The body, or where it is said to be."""
    import httpx

    pinned = target._replace(netloc=literal(address), fragment="").geturl()
    name = target.hostname or ""
    try:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=settings.fetch_timeout_s) as client,
            client.stream(
                "GET", pinned, headers={"Host": name}, extensions={"sni_hostname": name}
            ) as answer,
        ):
            if answer.is_redirect:
                return answer.headers["location"]
            if answer.status_code != 200:
                raise _failed(url, f"it answers {answer.status_code}")
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > settings.max_body_bytes:
                    raise _failed(url, f"it has more than {settings.max_body_bytes} bytes")
            return bytes(body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(url, type(error).__name__) from error


def _refused(url: str, why: str) -> RequestError:
    return RequestError(
        f'"{url[:80]}" is not fetched: {why}.\n'
        "  Send the image itself as data:image/...;base64,..., or have the server started with "
        "--allow-host.",
        code="url_refused",
    )


def _failed(url: str, why: str) -> RequestError:
    return RequestError(
        f'"{url[:80]}" gave no image: {why}.\n  Check it, or send the image itself.',
        code="url_failed",
    )
