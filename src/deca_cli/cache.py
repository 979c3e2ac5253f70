"""Where this program keeps what it fetched: one folder, moved by DECA_HOME."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The user's folder for models: DECA_HOME if set, else ``deca-cli`` in the platform's cache folder."""
    home = os.environ.get("DECA_HOME")
    if home:
        return Path(home).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "deca-cli" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "deca-cli"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deca-cli"


def files_folder() -> Path:
    """Where fetched files lie under their official names."""
    return cache_folder() / "files"
