"""From names and folders to sources of pictures: the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError
from deca_cli.train.data.official.aflw2000 import AflwSource
from deca_cli.train.data.official.rows import open_ethnicity, open_vggface2, open_vggface2hq
from deca_cli.train.data.official.vox2 import VoxSource
from deca_cli.train.data.prepared import PreparedSource

if TYPE_CHECKING:
    from deca_cli.train.data.settings import DataSettings
    from deca_cli.train.data.source import Source

Opener = Callable[["DataSettings", str], "Source"]

OFFICIAL: Mapping[str, Opener] = MappingProxyType(
    {
        "vggface2": open_vggface2,
        "vggface2hq": open_vggface2hq,
        "ethnicity": open_ethnicity,
        "vox2": VoxSource,
        "aflw2000": lambda settings, _: AflwSource(settings),
    }
)
"""Official sets by the names of the official configuration files; called with the settings and the split."""


def open_sources(
    data: Sequence[str | Source], settings: DataSettings, split: str, problems: dict[str, str]
) -> list[Source]:
    """Open every entry.

    Args:
        data: names of official sets, folders of prepared datasets, or sources, which are taken as they are.
        settings: where official sets lie, and how pictures are cut.
        split: `train` or `held_out`.
        problems: labels that are damaged are added to it.

    Raises:
        InputError: a dataset cannot be read.
        UsageError: no data, or a name is neither an official set nor a folder.
    """
    if not data:
        raise UsageError("No training data is named. Set dataset.training_data to folders or official sets.")
    return [_open(one, settings, split, problems) if isinstance(one, str) else one for one in data]


def _open(name: str, settings: DataSettings, split: str, problems: dict[str, str]) -> Source:
    if name in OFFICIAL:
        return OFFICIAL[name](settings, split)
    folder = Path(name).expanduser()
    if not folder.exists() and "/" not in name:
        raise UsageError(
            f"{name!r} is neither a folder nor one of the official sets {', '.join(OFFICIAL)}. "
            "Make a dataset with `deca train prepare`."
        )
    return PreparedSource(folder, settings, split, problems)
