"""Model packs: manifest, load, save, and the bundled open pack."""
