"""From a run directory to what the study found: tables, front, figures and a page to read."""
