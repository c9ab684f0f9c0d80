"""
Direct links between two gateways: one connection for all stanzas between their components, instead of s2s.
"""
