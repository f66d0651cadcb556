"""The way of a study to MLflow: nothing else imports it. Importing this package does not load it yet."""
