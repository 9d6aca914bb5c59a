"""Wiring: the one place that knows both the ports and who stands behind them."""
