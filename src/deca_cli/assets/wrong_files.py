"""What people get instead of a model, and the cure for each: `why_wrong` looks at the first bytes only."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 4096
ZIP_START = b"PK\x03\x04"
LFS_START = b"version https://git-lfs"
PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
LOGIN_WORDS = re.compile(rb"log.?in|sign.?in|password|username|register", re.IGNORECASE)
QUOTA_WORDS = re.compile(rb"quota exceeded|too many users", re.IGNORECASE)
SCAN_WORDS = re.compile(rb"virus scan|google drive", re.IGNORECASE)


def is_page(start: bytes) -> bool:
    """Whether these first bytes are a web page rather than a file."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith(PAGE_STARTS)


def why_wrong(path: Path) -> str | None:
    """Why a file cannot be a model, with the cure; None if nothing speaks against it so far.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(HEAD_BYTES)
    if not start:
        return "it is empty: the download did not start, get it again"
    if is_page(start):
        return why_page(start)
    if start.startswith(LFS_START):
        return "it is a Git LFS pointer of a few lines, not the file: get it with its download button or `git lfs pull`"
    if start.startswith(ZIP_START) and not zipfile.is_zipfile(path):
        what = "torch checkpoint" if b"/data.pkl" in start or b"/byteorder" in start else "archive"
        return f"it is a {what} that ends too early: the download broke off, get it again"
    if not any(start):
        return "it begins with zeros only: the download was never filled in, get it again"
    return None


def why_page(start: bytes) -> str:
    """Which web page was saved instead of a file, and what to do."""
    if QUOTA_WORDS.search(start):
        return (
            "it is Google Drive's page that says too many people fetched the file today: try again tomorrow, or open "
            "the link in a browser where you are signed in"
        )
    if SCAN_WORDS.search(start):
        return (
            "it is Google Drive's page about the virus scan, not the file: press `Download anyway` there, or let "
            "`deca fetch-models` fetch it"
        )
    if LOGIN_WORDS.search(start):
        return (
            "it is a login page saved under a model's name: sign in on the site first and download again, or let "
            "`deca fetch-models` fetch it with your user name"
        )
    return "it is a web page, not a model: open the link in a browser and use its download button"


def is_unpacked_checkpoint(folder: Path) -> bool:
    """Whether a folder is a torch checkpoint that somebody unpacked."""
    return (
        (folder / "data.pkl").is_file()
        and (folder / "data").is_dir()
        and any((folder / name).is_file() for name in ("version", "byteorder"))
    )


UNPACKED_CHECKPOINT = (
    "it is an unpacked torch checkpoint: `deca_model.tar` is not an archive, in spite of its name. Give the file as it "
    "was downloaded, without unpacking it"
)
