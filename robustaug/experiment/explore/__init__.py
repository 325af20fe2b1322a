"""The job behind ``robustaug explore``: a data set explored, and a page about it."""

from robustaug.experiment.explore.job import explore_into

__all__ = ["explore_into"]
