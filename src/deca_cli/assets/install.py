"""From the fetched files to the `deca` pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.assets.catalogue import ALBEDO, DENSE_TEMPLATE, FLAME_TEXTURE, PACK_ASSETS, Asset
from deca_cli.assets.store import is_here, locked, path_of
from deca_cli.cache import files_folder
from deca_cli.errors import ModelError
from deca_cli.packs.folders import official_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MADE_FROM = (*PACK_ASSETS, DENSE_TEMPLATE, ALBEDO, FLAME_TEXTURE)  # whatever of it is there


def missing_for_pack() -> tuple[Asset, ...]:
    """The files that the `deca` pack still needs."""
    return tuple(asset for asset in PACK_ASSETS if not is_here(asset))


def install_pack(say: Callable[[str], object]) -> Path:
    """Convert the fetched files into the `deca` pack; an older one is replaced.

    Raises:
        ModelError: A file is missing, damaged or does not fit; a damaged one is taken out of the cache, so that it can
            be fetched again.
        OutputError: The cache cannot be written.
    """
    from deca_cli.assets.convert import convert_official

    with locked("deca-pack", say):
        try:
            return convert_official(files_folder(), official_folder())
        except ModelError as error:
            spoiled = [asset for asset in MADE_FROM if is_here(asset) and str(path_of(asset)) in str(error)]
            if not spoiled:
                raise
            for asset in spoiled:
                path_of(asset).unlink()
            names = " ".join(asset.name for asset in spoiled)
            raise ModelError(
                f"{error} It was taken out of the cache; fetch it again with `deca fetch-models {names}`."
            ) from error
