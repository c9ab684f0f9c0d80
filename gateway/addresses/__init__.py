"""
Addresses (JIDs): their preparation, parts and comparison.
"""
