"""The only exceptions that the command line turns into a sentence.

Every message says what happened, why, and what to do about it.
"""


class DecaError(Exception):
    """Base of every error that a user can meet and mend."""


class InputError(DecaError):
    """A photo, folder or parameter file cannot be used as it is."""


class OutputError(DecaError):
    """A result cannot be written where it was asked for."""


class ModelError(DecaError):
    """A model pack, head or weight file is missing, damaged or does not fit."""


class DeviceError(DecaError):
    """The requested device or kernel is not available."""


class UsageError(DecaError):
    """Options or arguments that do not make sense, alone or together."""
