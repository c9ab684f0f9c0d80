"""A mirror's relation with its joined node."""
