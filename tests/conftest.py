"""Settings that every test shares."""

import torch

# Two threads stall at barriers on the tiny tensors of most tests.
torch.set_num_threads(1)
