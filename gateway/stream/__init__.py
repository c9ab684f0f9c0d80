"""
Bytes to stanzas and back, and the link that carries them; all features use it.
"""
