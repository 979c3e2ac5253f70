"""The open head and synthetic faces, built from CC0 data."""
