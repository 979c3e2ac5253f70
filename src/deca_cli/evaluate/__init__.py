"""Measurement against references."""
