"""A data set explored before anything is changed: what is in it, what is wrong with it, what fits it."""

from robustaug.exploration.advice import Advice, advise
from robustaug.exploration.explored import Explored, explore
from robustaug.exploration.facts import facts_of
from robustaug.exploration.recipe import recipe_of

__all__ = ["Advice", "Explored", "advise", "explore", "facts_of", "recipe_of"]
