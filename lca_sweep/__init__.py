"""Distributed hyperparameter sweeps for spike-and-slab networks trained by generalised back-propagation."""

__version__ = "0.1.0"
