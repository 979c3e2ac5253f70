"""Carry one answer of a server into a file, going on where an earlier attempt stopped. HTTPS only, TLS verified."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import requests

from deca_cli.assets.wrong_files import HEAD_BYTES, is_page
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCK_BYTES = 2**16  # so much at most is lost when a transfer breaks off
LARGEST_PAGE_BYTES = 2**18
PARTIAL, WHOLE, NO_SUCH_RANGE, NOT_FOUND, GONE = 206, 200, 416, 404, 410
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class Bar(Protocol):
    """A progress bar, as tqdm has it."""

    def update(self, n: float) -> object:
        """So many bytes more."""

    def close(self) -> object:
        """The end."""


@dataclass(frozen=True)
class Network:
    """How the outside is reached.

    Attributes:
        proxy: address of a proxy; None takes HTTPS_PROXY and its like from the environment.
        timeout_s: for the connection, and for each wait between bytes.
        bar: makes a progress bar from a title, the total size if known, and the bytes there already.
    """

    proxy: str | None = None
    timeout_s: tuple[float, float] = (20.0, 60.0)
    bar: Callable[[str, int | None, int], Bar] | None = None

    def options(self) -> dict[str, object]:
        """What every request is given; certificates are verified because nothing here says otherwise."""
        proxies = None if self.proxy is None else {"http": self.proxy, "https": self.proxy}
        return {"proxies": proxies, "timeout": self.timeout_s, "stream": True}


class PageInsteadOfFileError(Exception):
    """The server sent a web page; its text is the argument. Downloaders catch this and say what it means."""

    def __init__(self, page: bytes, status: int) -> None:
        super().__init__("a web page instead of a file")
        self.page = page
        self.status = status


def range_headers(start: int) -> dict[str, str]:
    """Ask for the bytes as they are, from `start` on."""
    headers = {"Accept-Encoding": "identity"}
    return headers | {"Range": f"bytes={start}-"} if start else headers


def receive(ask: Callable[[int], requests.Response], part: Path, title: str, network: Network) -> None:
    """Fill `part` with the whole file.

    Args:
        ask: Sends the request for the bytes from a place on and gives the answer.
        part: What earlier attempts left, or nothing; grows in place, so that the next attempt can go on.
        title: For the progress bar.
        network: See there.

    Raises:
        PageInsteadOfFileError: The answer is a web page.
        requests.RequestException: The connection failed; what arrived is kept.
        ModelError: The server refuses for good.
    """
    start = part.stat().st_size if part.is_file() else 0
    response = ask(start)
    if (
        response.status_code == NO_SUCH_RANGE
    ):  # another version of the file, or all of it is here and unchecked
        response.close()
        start = 0
        response = ask(0)
    with response:
        _check_secure(response)
        _check_status(response, title)
        start = _place(response, start)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        part.parent.mkdir(parents=True, exist_ok=True)
        blocks = response.iter_content(BLOCK_BYTES)
        bar = network.bar(title, total, start) if network.bar is not None else None
        received = start
        try:
            with part.open("ab" if start else "wb") as stream:
                for block in blocks:
                    if received == 0 and is_page(block[:HEAD_BYTES]):
                        raise PageInsteadOfFileError(block[:LARGEST_PAGE_BYTES], response.status_code)
                    stream.write(block)
                    received += len(block)
                    if bar is not None:
                        bar.update(len(block))
        finally:
            if bar is not None:
                bar.close()
        if total is not None and received < total:
            raise BrokenOffError(f"only {received} of {total} bytes arrived")


def _place(response: requests.Response, start: int) -> int:
    """Where in the file this answer begins."""
    if response.status_code != PARTIAL:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        raise BrokenOffError("the server continued at another place than asked for")
    return start


def _check_secure(response: requests.Response) -> None:
    for answer in (*response.history, response):
        if urlsplit(answer.url).scheme != "https":
            raise ModelError(
                f"{urlsplit(answer.url).hostname} would send the file without encryption, which is refused: fetch it by "
                "hand in a browser and use `deca fetch-models --from FILE`."
            )


def _check_status(response: requests.Response, title: str) -> None:
    status, host = response.status_code, urlsplit(response.url).hostname
    if status in (WHOLE, PARTIAL) and "text/html" not in response.headers.get("Content-Type", ""):
        return
    if status in TRY_AGAIN:
        raise BrokenOffError(f"it answers {status}, which passes")
    page = next(response.iter_content(LARGEST_PAGE_BYTES), b"")
    if status in (NOT_FOUND, GONE):
        raise ModelError(
            f"{host} has {title} no longer ({status}). Update deca-cli, or get the file by hand and use "
            "`deca fetch-models --from FILE`."
        )
    raise PageInsteadOfFileError(page, status)


OPENED = "; behind a proxy that opens connections set REQUESTS_CA_BUNDLE to the proxy's certificate"
REASONS = (
    (requests.exceptions.SSLError, f"its certificate cannot be verified{OPENED}"),
    (requests.exceptions.ProxyError, "the proxy cannot be reached or refuses; check --proxy and HTTPS_PROXY"),
    (requests.exceptions.Timeout, "it does not answer in time"),
    (requests.exceptions.InvalidURL, "the address is not valid; check --proxy"),
)


class BrokenOffError(requests.exceptions.ConnectionError):
    """A transfer that went wrong in a way that we noticed ourselves; the text is fit for users."""


def why_unreachable(error: BaseException) -> str:
    """A failed connection in a few words, without addresses, which may hold a proxy's password."""
    if isinstance(error, BrokenOffError):
        return str(error)
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason
    if "timed out" in str(error):
        return "it does not answer in time"
    root = error
    while (inner := root.__cause__ or root.__context__) is not None:
        root = inner
    return root.strerror if isinstance(root, OSError) and root.strerror else "the connection broke off"
