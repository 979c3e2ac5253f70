"""The fingerprint of a pack follows what decides about its results, and nothing else."""

import shutil

import pytest

from deca_cli.errors import ModelError
from deca_cli.packs.fingerprint import pack_fingerprint


def test_changes_of_deciding_files_are_seen_and_notes_are_not(tmp_path):
    for name, content in (("manifest.toml", b"a"), ("head.npz", b"b"), ("encoder.safetensors", b"c")):
        (tmp_path / name).write_bytes(content)
    first = pack_fingerprint(tmp_path)
    (tmp_path / "NOTICE.md").write_text("a note")
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    assert pack_fingerprint(tmp_path) == pack_fingerprint(moved) == first
    others = set()
    for name in ("manifest.toml", "head.npz", "encoder.safetensors"):
        kept = (moved / name).read_bytes()
        (moved / name).write_bytes(b"changed")
        others.add(pack_fingerprint(moved))
        (moved / name).write_bytes(kept)
    assert len(others | {first}) == 4
    (moved / "encoder.safetensors").rename(moved / "detail_encoder.safetensors")
    assert pack_fingerprint(moved) != first


def test_folders_without_a_pack_are_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no model pack"):
        pack_fingerprint(tmp_path)
    with pytest.raises(ModelError, match="cannot read the model pack"):
        pack_fingerprint(tmp_path / "nowhere")
