"""The reliable channel between two nodes: section 2 of docs/fmuc-resync.md."""
