"""From windows to weights. The only package besides `models.quantization` that needs torch."""
