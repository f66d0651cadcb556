"""The training core: pure PyTorch, with neither ray, mlflow nor optuna."""
