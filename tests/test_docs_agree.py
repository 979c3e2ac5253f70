"""Numbers that documents and project files name are those of the code."""

import re
from pathlib import Path

from deca_cli.pipeline.encoding import CPU_BATCH, LARGEST_BATCH

ROOT = Path(__file__).resolve().parents[1]


def test_the_manual_names_the_largest_batches():
    row = re.search(
        r"^\| `--batch-size N` \|.*$", (ROOT / "docs" / "usage.md").read_text("utf-8"), re.MULTILINE
    )
    assert f"at most {LARGEST_BATCH}, and {CPU_BATCH} on the CPU" in row[0]


def test_torch_is_required_from_the_version_on_that_has_its_out_of_memory_error():
    lowest = re.search(r'"torch>=(\d+)\.(\d+),<3"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert (int(lowest[1]), int(lowest[2])) >= (2, 5)  # `torch.OutOfMemoryError`
    pinned = re.search(r"^torch==(\d+)\.(\d+)\.", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert (int(lowest[1]), int(lowest[2])) <= (int(pinned[1]), int(pinned[2])) < (3, 0)
