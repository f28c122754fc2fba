"""A study over several processes and machines: Ray workers, shares of a job array."""

from headcount.cluster.ray_driver import measure_on_ray
from headcount.cluster.resources import Resources
from headcount.cluster.shares import DividedUnits, Share, divide_units, parse_share

__all__ = ["DividedUnits", "Resources", "Share", "divide_units", "measure_on_ray", "parse_share"]
