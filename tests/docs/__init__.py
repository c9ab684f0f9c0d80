"""
The documentation: its blocks of code are parsed, compared with the program, or run; generated pages are current.
"""
