"""
Moved to L{gateway.xml.read}.
"""

from gateway.xml.read import MAX_COST, Builder, checkCost

# Kept until every module imports these from gateway.xml.
__all__ = ["MAX_COST", "Builder", "checkCost"]
