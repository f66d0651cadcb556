"""The table of `study/evaluate.py`: systems as rows, test sets as columns."""
