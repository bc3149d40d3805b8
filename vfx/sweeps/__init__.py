"""Hydra sweeps: a record of each job, and jobs in processes of their own."""

from vfx.sweeps.job_table import table

__all__ = ["table"]
