"""Rasterisation and the passes built on it. Knows no networks."""
