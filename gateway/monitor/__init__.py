"""
What an operator, and an operator's tools, ask the gateway over HTTP.
"""
