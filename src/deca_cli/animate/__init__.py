"""Expression transfer and animation: who moves (source), what moves (driver, preset, script), how it is shown."""
