"""What differs between the sites that files come from: three downloaders for pooch, `(address, output file, pooch)`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import requests

from deca_cli.assets.transfer import Network, PageInsteadOfFileError, range_headers, receive
from deca_cli.assets.wrong_files import why_page
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = (401, 403)
REDIRECTS = (301, 302, 303, 307, 308)
GOOGLE = (".google.com", ".googleusercontent.com")
NOT_ACTIVE = re.compile(rb"activat|not (been )?(confirmed|verified)|verify your|confirm your", re.IGNORECASE)
REGISTER = "https://flame.is.tue.mpg.de/register.php"
USERNAME, PASSWORD = "DECA_FLAME_USERNAME", "DECA_FLAME_PASSWORD"


@dataclass(frozen=True)
class Credentials:
    """A user name and password of the FLAME site. Never printed, logged or written."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True)
class Plain:
    """Fetch from an ordinary address.

    Attributes:
        part: keeps what arrived when an attempt breaks off.
        title: what to call the file.
        network: how the outside is reached.
    """

    part: Path
    title: str
    network: Network

    def __call__(self, address: str, output: str, _pooch: object) -> None:
        """Fetch `address` into `output`.

        Raises:
            ModelError: The server has something else.
            requests.RequestException: The connection failed.
        """
        try:
            self.fetch(address)
        except PageInsteadOfFileError as answer:
            host = urlsplit(address).hostname
            raise ModelError(
                f"{host} sent no file for {self.title}: {why_page(answer.page)} "
                "(`deca fetch-models --from FILE` takes it then)."
            ) from None
        self.part.replace(output)

    def fetch(self, address: str) -> None:
        """Fill `part`."""
        self.get(address)

    def get(self, address: str, cookies: object = None) -> None:
        """Fill `part` by GET."""
        _check_https(address)

        def ask(start: int) -> requests.Response:
            return requests.get(  # noqa: S113 - the options have one
                address,
                headers=range_headers(start),
                cookies=cookies,  # type: ignore[arg-type]
                **self.network.options(),  # type: ignore[arg-type]
            )

        receive(ask, self.part, self.title, self.network)


@dataclass(frozen=True)
class Drive(Plain):
    """Fetch from Google Drive, which asks for a confirmation when a file is too large for its virus scan."""

    def fetch(self, address: str) -> None:
        """Fill `part`, through the confirmation page if there is one."""
        try:
            self.get(address)
        except PageInsteadOfFileError as answer:
            confirmed = confirmation(answer.page.decode("utf-8", "replace"), address)
            if confirmed is None:
                raise
            self.get(confirmed)


@dataclass(frozen=True)
class FlameSite(Plain):
    """Fetch from the FLAME site, whose form takes user name and password.

    Attributes:
        credentials: sent in the body of an HTTPS request, to the site itself and never to where it redirects.
    """

    credentials: Credentials = field(kw_only=True, repr=False)

    def fetch(self, address: str) -> None:
        """Fill `part` by POST."""
        _check_https(address)
        try:
            receive(lambda start: self._ask(address, start), self.part, self.title, self.network)
        except PageInsteadOfFileError as answer:
            raise ModelError(_why_refused(answer, urlsplit(address).hostname)) from None

    def _ask(self, address: str, start: int) -> requests.Response:
        form = {"username": self.credentials.username, "password": self.credentials.password}
        options = self.network.options()
        headers = range_headers(start)
        response = requests.post(  # noqa: S113 - the options have one
            address,
            data=form,
            headers=headers,
            allow_redirects=False,
            **options,  # type: ignore[arg-type]
        )
        if response.status_code in REDIRECTS:
            target = urljoin(address, response.headers.get("Location", ""))
            response.close()
            _check_https(target)
            return requests.get(target, headers=headers, **options)  # type: ignore[arg-type] # noqa: S113
        return response


def _why_refused(answer: PageInsteadOfFileError, host: str | None) -> str:
    by_hand = "or download the zip in a browser and use `deca fetch-models --from FILE`"
    if NOT_ACTIVE.search(answer.page):
        return (
            f"{host} says that the account is not activated yet: open the link in the mail it sent (look into the spam "
            f"folder; some mail providers never get it, then register with another address at {REGISTER}), {by_hand}."
        )
    if answer.status in REFUSED or re.search(rb"wrong|invalid|incorrect|fail", answer.page, re.IGNORECASE):
        return (
            f"{host} does not accept the user name and password: check them by signing in at https://{host} in a "
            f"browser (a new account works only after the link in its mail was opened), {by_hand}."
        )
    return (
        f"{host} sent a web page instead of the file: sign in there in a browser, accept the licence on the download "
        f"page and try again, {by_hand}."
    )


def _check_https(address: str) -> None:
    if urlsplit(address).scheme != "https":
        raise ModelError(
            f"{urlsplit(address).hostname or address} is not reached over HTTPS, which is refused: fetch the file by "
            "hand and use `deca fetch-models --from FILE`."
        )


class _DownloadForm(HTMLParser):
    """The form of the confirmation page: where it goes and its hidden fields; or the older link with `confirm=`."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.link: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for every tag."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = given.get("action")
        elif tag == "input" and given.get("type") == "hidden" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag == "a" and "confirm=" in given.get("href", ""):
            self.link = given["href"]


def confirmation(page: str, address: str) -> str | None:
    """The address behind `Download anyway` on Google Drive's page, or None if the page has no such button.

    Raises:
        ModelError: The page leads to another site.
    """
    form = _DownloadForm()
    form.feed(page)
    if form.action and "confirm" in form.fields:
        parts = urlsplit(urljoin(address, form.action))
        query = urlencode(dict(parse_qsl(parts.query)) | form.fields)
        target = urlunsplit(parts._replace(query=query))
    elif form.link:
        target = urljoin(address, form.link)
    else:
        return None
    host = urlsplit(target).hostname or ""
    if host != urlsplit(address).hostname and not host.endswith(GOOGLE):
        raise ModelError(
            f"Google Drive's page leads to {host}, which is refused: download the file by hand and use "
            "`deca fetch-models --from FILE`."
        )
    return target
