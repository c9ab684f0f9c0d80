"""
Durable state: files, SQLite databases, and the faults of disks.
"""
