"""
The HTTP server, and its pages for operators and their tools.
"""
