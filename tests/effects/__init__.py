"""Each key of the configuration, and what it changes as others see it."""
