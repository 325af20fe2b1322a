"""The one exception family of the library, and its warnings."""


class RobustAugError(Exception):
    """A problem the user can act on: one line that says what is wrong, where, and what to do."""


class RobustAugWarning(UserWarning):
    """Something the user should know of a job that goes on, in one line."""
