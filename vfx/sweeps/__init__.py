"""Hydra sweeps: a record of each job, and jobs in processes of their own."""
