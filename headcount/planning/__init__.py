"""Costs of a study before it is run: operations, bytes, memory, requests, seconds."""

from headcount.planning.costs import Cost, relative_seconds, unit_costs
from headcount.planning.hardware import Hardware, measure_this_machine
from headcount.planning.layouts import Layout
from headcount.planning.plan import Plan, PlanRow, plan_study
from headcount.planning.shape import Shape

__all__ = [
    "Cost",
    "Hardware",
    "Layout",
    "Plan",
    "PlanRow",
    "Shape",
    "measure_this_machine",
    "plan_study",
    "relative_seconds",
    "unit_costs",
]
