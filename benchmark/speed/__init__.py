"""What the machinery costs, as ratios of things measured in turns; run it with ``make speed``."""
