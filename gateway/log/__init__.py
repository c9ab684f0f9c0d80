"""
Log lines: escaping of untrusted text, and a limit on their rate.
"""
