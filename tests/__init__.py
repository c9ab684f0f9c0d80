"""Tests of the gateway."""

import gc

# The objects of all tests' modules stay, and Python would visit them often.
gc.set_threshold(5_000, 10, 50)
