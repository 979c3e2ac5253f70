"""What the paper's stages minimise: losses put together over rendered heads."""
