"""
Bytes to stanzas and back, and the link that carries them: what every feature stands on.
"""
