"""Importing this loads everything that finding faces needs, compiled loops included.

Worker processes are copies of a process that has done so: loading the loops from numba's cache takes each of them as long as
several photos do.
"""

from deca_cli.cycles import look_less_often, look_no_more_at_what_is_here

look_less_often()
from deca_cli.photo import cascade, lbp, sample_kernel, sighting  # noqa: E402 - while this is loaded, too

__all__ = ["cascade", "lbp", "sample_kernel", "sighting"]

cascade.compile_kernel()
sample_kernel.compile_kernel()
look_no_more_at_what_is_here()
