"""sleepshift: a transfer-learning benchmark for sleep staging."""

__version__ = "0.1.0"
