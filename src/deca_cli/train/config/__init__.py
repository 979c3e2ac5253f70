"""Settings of the stages: frozen dataclasses, YAML in and out."""
