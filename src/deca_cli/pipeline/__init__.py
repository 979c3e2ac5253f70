"""From photos to files: the one path that every command calls."""
