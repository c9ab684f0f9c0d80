"""Each key of the configuration, and its effect as others see it."""
