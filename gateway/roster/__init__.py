"""
Rosters that a web application controls.
"""
