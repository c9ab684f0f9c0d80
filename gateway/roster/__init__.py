"""
Rosters that a web application decides.
"""
