"""What can be fetched, and the only readers of official files: pickles and checkpoints as plain data."""
