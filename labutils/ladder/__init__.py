"""The ladder: try the quantizations one after the other, measure each, decide by the figures."""
