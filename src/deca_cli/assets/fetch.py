"""Fetch one asset: pooch keeps, checks and tries again; the downloaders know the sites; the content is recognised."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from deca_cli.assets.catalogue import BY_HAND, DRIVE, FLAME_SITE, Asset
from deca_cli.assets.import_files import look_into
from deca_cli.assets.licences import LICENCES
from deca_cli.assets.recognise import sha256_of
from deca_cli.assets.store import cache_error, is_here, locked, open_licences, path_of, put
from deca_cli.assets.transfer import Network, why_unreachable
from deca_cli.cache import cache_folder
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from deca_cli.assets.downloaders import Credentials, Plain

RETRIES = 3
SHA256_DIGITS = 64


@dataclass(frozen=True)
class Fetcher:
    """How to fetch.

    Attributes:
        network: how the outside is reached.
        credentials: asks for user name and password of the FLAME site; called only when they are needed.
        say: told a sentence now and then.
        any_flame: take a FLAME of another year too.
        retries: further attempts after a broken connection or a wrong check sum; each goes on where the last stopped.
    """

    network: Network
    credentials: Callable[[], Credentials]
    say: Callable[[str], object]
    any_flame: bool = False
    retries: int = RETRIES

    def fetch(self, asset: Asset) -> Path:
        """Fetch a file into the cache, unless it is there.

        Raises:
            ModelError: It cannot be had: no licence, no connection, wrong content; the message says what to do.
            OutputError: The cache cannot be written.
        """
        _check_may_fetch(asset)
        with locked(asset.name, self.say):
            if is_here(asset):  # another process may have brought it while we waited
                return path_of(asset)
            return self._keep(asset, self._download(asset))

    def _download(self, asset: Asset) -> Path:
        """The first address that works."""
        reasons = []
        for address in asset.addresses:
            try:
                return self._from_address(asset, address)
            except requests.RequestException as error:  # noqa: PERF203 - a handful of addresses
                reasons.append(f"{urlsplit(address).hostname}: {why_unreachable(error)}")
        raise ModelError(
            f"Cannot fetch {asset.name} ({'; '.join(reasons)}). Run the same command again, it goes on where it stopped; "
            f"or get the file by hand from {asset.addresses[0]} and use `deca fetch-models --from FILE`."
        )

    def _from_address(self, asset: Asset, address: str) -> Path:
        import pooch

        pooch.get_logger().setLevel(logging.ERROR)
        folder = cache_folder() / "downloads"
        name = asset.archive or asset.file
        known = (
            asset.sha256
            if asset.sha256 and len(asset.sha256) == SHA256_DIGITS and not asset.archive
            else None
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            manager = pooch.create(
                path=folder,
                base_url="",
                registry={name: known and f"sha256:{known}"},
                urls={name: address},
                retry_if_failed=self.retries,
            )
            return Path(manager.fetch(name, downloader=self._downloader(asset, folder / f".{name}.part")))
        except ValueError as error:  # pooch: the check sum differs, also after further attempts
            if isinstance(error, requests.RequestException):
                raise
            raise ModelError(
                f"{urlsplit(address).hostname} sent another content for {asset.name} than expected (sha256 should begin "
                f"with {known and known[:12]}): it was deleted. Try again later, update deca-cli, or get "
                f"{asset.file} by hand and use `deca fetch-models --from FILE`."
            ) from error
        except OSError as error:
            if isinstance(error, requests.RequestException):
                raise
            raise cache_error(folder / name, error) from error

    def _downloader(self, asset: Asset, part: Path) -> Plain:
        from deca_cli.assets.downloaders import Drive, FlameSite, Plain

        title = asset.archive or asset.file
        if asset.source == FLAME_SITE:
            return FlameSite(part, title, self.network, credentials=self.credentials())
        return (Drive if asset.source == DRIVE else Plain)(part, title, self.network)

    def _keep(self, asset: Asset, download: Path) -> Path:
        """Recognise what came, and put it into the cache."""
        try:
            with tempfile.TemporaryDirectory(dir=download.parent, prefix=".look-") as temporary:
                for finding in look_into(download, Path(temporary), any_flame=self.any_flame):
                    if (
                        finding.asset is not None
                        and finding.asset.name == asset.name
                        and finding.problem is None
                    ):
                        check_sums(asset, finding.path)
                        return put(asset, finding.path, move=True)
                    if finding.problem is not None:
                        raise ModelError(f"What came for {asset.name} cannot be used: {finding.problem}.")
            raise ModelError(
                f"{download.name} holds no {asset.file}: the site has changed. Update deca-cli, or get the file by hand "
                "and use `deca fetch-models --from FILE`."
            )
        finally:
            download.unlink(missing_ok=True)


def _check_may_fetch(asset: Asset) -> None:
    if asset.source == BY_HAND:
        raise ModelError(
            f"{asset.file} may not be passed on by anyone: make it as {asset.addresses[0]} says, then run "
            "`deca fetch-models --from FILE`. Everything but the albedo output works without it."
        )
    for name in open_licences([asset]):
        raise ModelError(
            f"{asset.name} is under a licence that must be accepted first: {LICENCES[name].sentence} Read "
            f"{LICENCES[name].page} and run again with --accept-licence {name}."
        )


def check_sums(asset: Asset, path: Path) -> None:
    """Compare with what is published of the file.

    Raises:
        ModelError: It is another file.
    """
    if asset.sha256 and not sha256_of(path).startswith(asset.sha256):
        raise ModelError(_another(path, asset))
    if asset.git_blob:
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if blob != asset.git_blob:
            raise ModelError(_another(path, asset))


def _another(path: Path, asset: Asset) -> str:
    return (
        f"{path.name} is not the published {asset.file}, its check sum differs: the download was damaged or the site has "
        "changed. Try again, or update deca-cli."
    )
