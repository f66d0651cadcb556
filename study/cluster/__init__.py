"""The study on Ray, recorded in MLflow: the only code that imports either."""
