"""
XML as bytes and as trees: reading, writing, and stanza errors. Pure.
"""
