"""Photos in: read files, find faces, cut crops."""
