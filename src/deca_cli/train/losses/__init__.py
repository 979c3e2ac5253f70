"""Losses of the paper's stages as pure functions, and the two networks that some of them need."""
