"""The writer of whole files, under the name by which the exports know it."""

from deca_cli.atomic import (
    check_writable,
    make_folder,
    output_error,
    remove_file,
    to_bytes,
    write_array,
    write_arrays,
    write_bytes,
    write_file,
    write_text,
)

__all__ = [
    "check_writable",
    "make_folder",
    "output_error",
    "remove_file",
    "to_bytes",
    "write_array",
    "write_arrays",
    "write_bytes",
    "write_file",
    "write_text",
]
