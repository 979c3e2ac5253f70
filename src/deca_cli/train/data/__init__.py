"""Training data: datasets on disk, readers of the official layouts, the loader that feeds the stages."""
