"""
Rosters from a web application, which is the truth about who knows whom.
"""
