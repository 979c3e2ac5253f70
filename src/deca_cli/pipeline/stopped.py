"""What becomes of work that nobody has begun when a run ends."""


class StoppedError(Exception):
    """Something that was not begun because the run ends."""
