"""Readers of the data layouts that the official training code uses (specification, section 8.7)."""
