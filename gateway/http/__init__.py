"""
HTTP: listening ports, the server with its pages for operators and their tools, and clients.
"""
