"""Turns an ordinary photo into a detailed, animatable 3D head (DECA, SIGGRAPH 2021)."""

__version__ = "0.1.0"
