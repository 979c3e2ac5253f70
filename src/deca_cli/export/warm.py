"""Importing this loads everything that drawing and writing a face on the CPU needs, the compiled rasteriser included.

For the process that worker processes are copies of; see `photo/warm.py`.
"""

from deca_cli.export import formats
from deca_cli.render import cpu, rasterize

__all__ = ["cpu", "formats", "rasterize"]

cpu.compile_kernel()
