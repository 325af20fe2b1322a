"""The one exception family of the library."""


class RobustAugError(Exception):
    """A problem the user can act on: one line that says what is wrong, where, and what to do."""
