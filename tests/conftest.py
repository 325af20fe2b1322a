"""Settings for the whole suite."""

import torch

# The suite runs one process a core (pytest -n): more threads in each would only wait for each other.
torch.set_num_threads(1)
