"""The search: spaces, samplers, early stopping, the Pareto archive, interpolation, earlier studies."""
