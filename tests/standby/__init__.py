"""Tests of several gateways with the same components."""
