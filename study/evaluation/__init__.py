"""What `study/evaluate.py` does: systems against sets, the paper's table."""
