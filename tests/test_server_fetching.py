"""Addresses: only listed hosts, only public addresses, only so much."""

import asyncio
import http.server
import ipaddress
import threading

import pytest

from perceive_anything.errors import RequestError
from perceive_anything.server import fetching
from perceive_anything.server.settings import ServerSettings
from servers import CAT_PNG

LISTED = ServerSettings(allow_hosts=("img.example", "localhost"), fetch_timeout_s=2)


def fetched(url, settings=LISTED):
    return asyncio.run(fetching.fetch(url, settings))


def refused(url, code="url_refused", settings=LISTED):
    with pytest.raises(RequestError) as caught:
        fetched(url, settings)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://other.example/a.png", "not on the server's list"),
        ("http://img.example.evil.example/a.png", "not on the server's list"),
        ("http://img.example@evil.example/a.png", "user name"),
        ("http://user:word@img.example/a.png", "user name"),
        ("http://img.example:22/a.png", "port"),
        ("ftp://img.example/a.png", "no http"),
        ("http://[img.example/a.png", "malformed"),
        ("http://img.example:x/a.png", "malformed"),
        ("http://localhost/a.png", "private network"),
    ],
)
def test_what_is_not_fetched(url, why):
    assert why in refused(url)


def test_by_default_nothing_is_fetched():
    assert "--allow-host" in refused("http://img.example/a.png", settings=ServerSettings())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1",
     "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "224.0.0.1"],
)  # fmt: skip
def test_private_addresses(address):
    assert not fetching.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses(address):
    assert fetching.is_public(ipaddress.ip_address(address))


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        status, headers, body = {
            "/cat.png": (200, {}, CAT_PNG),
            "/moved": (302, {"Location": "/cat.png"}, b""),
            "/away": (302, {"Location": "http://other.example/cat.png"}, b""),
            "/round": (302, {"Location": "/round"}, b""),
            "/large": (200, {}, bytes(3_000_000)),
        }.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def host(monkeypatch):
    """A web server on this machine that passes for a public one."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def here(target):
        return f"127.0.0.1:{server.server_port}"

    monkeypatch.setattr(fetching, "public_address", here)
    monkeypatch.setattr(fetching, "literal", lambda address: address)
    yield server
    server.shutdown()
    server.server_close()


def test_an_image_is_fetched_from_the_address_that_was_checked(host):
    assert fetched("http://img.example/cat.png") == CAT_PNG
    assert host.asked == [("/cat.png", "img.example")]


def test_redirects_stay_on_the_list(host):
    assert fetched("http://img.example/moved") == CAT_PNG
    refused("http://img.example/away")
    assert "leads elsewhere" in refused("http://img.example/round", "url_failed")


def test_what_gives_no_image(host):
    assert "404" in refused("http://img.example/none", "url_failed")
    small = LISTED.model_copy(update={"max_body_bytes": 1_000_000})
    assert "1000000 bytes" in refused("http://img.example/large", "url_failed", small)
