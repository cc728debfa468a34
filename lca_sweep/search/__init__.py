"""Optuna: what is searched, how trials are proposed, and what became of them."""
