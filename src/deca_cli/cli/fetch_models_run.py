"""What `deca fetch-models` does and says; imported only when it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from deca_cli.assets.catalogue import ASSETS, FLAME_SITE, GROUPS, Asset, wanted_assets
from deca_cli.assets.install import MADE_FROM, install_pack, missing_for_pack
from deca_cli.assets.licences import LICENCES
from deca_cli.assets.store import accept_licences, accepted_licences, is_here, open_licences
from deca_cli.cache import cache_folder
from deca_cli.cli.errors import FAILED, say_error
from deca_cli.errors import InputError, ModelError, UsageError
from deca_cli.packs.folders import DECA, is_installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.assets.downloaders import Credentials
    from deca_cli.assets.fetch import Fetcher
    from deca_cli.assets.transfer import Bar


@dataclass(frozen=True)
class Request:
    """The command line, parsed."""

    words: tuple[str, ...]
    show_list: bool
    sources: tuple[Path, ...]
    accept: tuple[str, ...]
    any_flame: bool
    offline: bool
    proxy: str | None


def run(request: Request) -> int:
    """Do it; return the exit code.

    Raises:
        DecaError: Nothing could be done at all.
    """
    wanted = wanted_assets(request.words)  # a wrong word is told before anything happens
    accept_licences(request.accept)
    if request.show_list:
        _print_list()
        return 0
    if request.sources:
        return _import(request)
    if not wanted:
        wanted = wanted_assets(_explain_and_ask())
        if not wanted:
            return 0
    missing = tuple(asset for asset in wanted if not is_here(asset))
    if request.offline and missing:
        names = ", ".join(f"{asset.file} ({asset.addresses[0]})" for asset in missing)
        raise ModelError(
            f"--offline: not installed are {names}. Get them on another machine and use `deca fetch-models --from DIR`."
        )
    _ask_for_licences(missing)
    failed = _fetch_all(_fetcher(request), missing)
    _install_if_complete(changed=missing, wanted=wanted)
    if failed:
        raise ModelError(" ".join(failed))
    _closing_line(wanted)
    return 0


def _say(sentence: str) -> None:
    typer.echo(sentence)


def _print_list() -> None:
    _say(f"Installed in {cache_folder()} (DECA_HOME moves it).\n")
    for asset in ASSETS:
        state = "installed" if is_here(asset) else "-"
        _say(f"{asset.name:<20} {state:<10} {_size(asset):>8}  {asset.file}: {asset.purpose}")
        _say(f"{'':<20} from {', '.join(asset.addresses)}")
        sums = f"; sha256 {asset.sha256}" if asset.sha256 else ""
        _say(f"{'':<20} licence {asset.licence}; without it works: {asset.without}{sums}\n")
    _say(
        "Groups: "
        + "; ".join(f"{name} = {', '.join(a.name for a in group)}" for name, group in GROUPS.items())
    )
    _say("\nLicences:")
    done = accepted_licences()
    for licence in LICENCES.values():
        needed = "to accept" if licence.must_accept else "free to fetch"
        state = "accepted" if licence.name in done else needed
        _say(f"{licence.name:<20} {state:<16} {licence.sentence} {licence.page}")
    _say(f"\nThe model pack `deca` is {'installed' if is_installed(DECA) else 'not installed'}.")


def _size(asset: Asset) -> str:
    if asset.size is None:
        return "?"
    about = "" if asset.exact else "~"
    return f"{about}{asset.size / 1e6:.0f} MB" if asset.size >= 1e6 else f"{about}{asset.size / 1e3:.0f} kB"


def _explain_and_ask() -> tuple[str, ...]:
    """Say what there is; ask for one of the groups if somebody is there to answer."""
    _say("The bundled model `open` needs nothing from here. What else can be fetched:")
    for name, group in GROUPS.items():
        here = sum(map(is_here, group))
        _say(f"  deca fetch-models {name:<10} {here} of {len(group)} files installed: {_reason(name)}")
    _say("Files that you have already: deca fetch-models --from DIR_OR_ZIP. Everything in detail: --list.")
    if not sys.stdin.isatty():
        return ()
    answer = typer.prompt("Fetch which (deca, flame, detector, identity, all; Enter for nothing)", default="")
    return tuple(answer.split())


def _reason(group: str) -> str:
    return {
        "deca": "the published DECA weights with detail; needs an account of flame.is.tue.mpg.de",
        "flame": "the FLAME head alone; needs that account too",
        "detector": "better face detectors",
        "identity": "networks that only training needs",
        "all": "all of it",
    }[group]


def _ask_for_licences(missing: Sequence[Asset]) -> None:
    """Show every open licence; accept it, or stop.

    Raises:
        ModelError: A licence was not accepted.
    """
    for name in open_licences(missing):
        licence = LICENCES[name]
        of = ", ".join(asset.name for asset in missing if asset.licence == name)
        _say(f"Licence {name} (for {of}): {licence.sentence}\n  {licence.page}")
        if sys.stdin.isatty() and typer.confirm("Have you read it, and do you accept it?"):
            accept_licences([name])
    still_open = open_licences(missing)
    if still_open:
        options = " ".join(f"--accept-licence {name}" for name in still_open)
        raise ModelError(
            f"Not fetched, because licences are not accepted: {', '.join(still_open)}. If you accept them, run again with "
            f"{options}."
        )


def _fetcher(request: Request) -> Fetcher:
    from functools import lru_cache

    from deca_cli.assets.fetch import Fetcher
    from deca_cli.assets.transfer import Network

    network = Network(proxy=request.proxy, bar=_bar)
    return Fetcher(network, lru_cache(maxsize=1)(_credentials), _say, any_flame=request.any_flame)


def _bar(title: str, total: int | None, start: int) -> Bar:
    from tqdm import tqdm

    return tqdm(
        desc=title,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    )


def _credentials() -> Credentials:
    """From the environment, or asked for without showing what is typed.

    Raises:
        UsageError: Nobody is there to answer.
    """
    from deca_cli.assets.downloaders import PASSWORD, REGISTER, USERNAME, Credentials

    username, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
    if username and password:
        return Credentials(username, password)
    if not sys.stdin.isatty():
        raise UsageError(
            f"The FLAME site wants a user name and password: set {USERNAME} and {PASSWORD}, or run this in a terminal. "
            f"An account is made at {REGISTER}."
        )
    _say(
        f"The FLAME site wants your user name (an e-mail address) and password; what you type is not shown. New: {REGISTER}"
    )
    return Credentials(
        username or typer.prompt("User name", hide_input=True),
        password or typer.prompt("Password", hide_input=True),
    )


def _fetch_all(fetcher: Fetcher, missing: Sequence[Asset]) -> list[str]:
    """Fetch what can be had; return a sentence for each that could not."""
    failed: list[str] = []
    refused: set[str] = set()  # sites that are not asked again, with the same wrong password
    for asset in missing:
        if asset.source in refused:
            continue
        try:
            path = fetcher.fetch(asset)
        except ModelError as error:
            if asset.optional:
                _say(f"{asset.name}: left out. {error}")
                continue
            failed.append(str(error))
            if asset.source == FLAME_SITE:
                refused.add(asset.source)
        else:
            _say(f"{asset.name}: installed as {path}")
    return failed


def _import(request: Request) -> int:
    from deca_cli.assets.import_files import import_files

    results = import_files(request.sources, _say, any_flame=request.any_flame)
    taken = []
    for result in results:
        if result.problem is not None or result.asset is None:
            say_error(f"{result.name}: {result.problem}.")
        else:
            note = f" ({result.note})" if result.note else ""
            _say(
                f"{result.name}: {result.asset.name}, installed{note}. {LICENCES[result.asset.licence].sentence}"
            )
            taken.append(result.asset)
    if not results:
        places = ", ".join(map(str, request.sources))
        raise InputError(
            f"There is nothing in {places} that this program knows. `deca fetch-models --list` shows it all."
        )
    _install_if_complete(changed=taken, wanted=taken)
    return 0 if taken and len(taken) == len(results) else FAILED


def _install_if_complete(changed: Sequence[Asset], wanted: Sequence[Asset]) -> None:
    """Convert if a file of the pack is new, or if the pack is wanted and not there; else say what is missing."""
    parts = {asset.name for asset in MADE_FROM}
    if not any(asset.name in parts for asset in (*changed, *wanted)):
        return
    missing = missing_for_pack()
    if missing:
        names = ", ".join(f"{asset.name} ({asset.file})" for asset in missing)
        _say(
            f"The model pack `deca` still lacks {names}. `deca fetch-models deca` fetches what it may, --from takes the rest."
        )
    elif any(asset.name in parts and is_here(asset) for asset in changed) or not is_installed(DECA):
        _say("Converting the official files, once ...")
        _say(f"The model pack `deca` is ready: {install_pack(_say)}")


def _closing_line(wanted: Sequence[Asset]) -> None:
    if all(map(is_here, wanted)):
        _say("All of it is installed.")
