"""
XML as bytes, and as trees where somebody wants one: read, written, and what a stanza error looks like. Pure.
"""
