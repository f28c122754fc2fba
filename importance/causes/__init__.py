"""Causes: does a task need the heads of a kind, or do they only go along?"""
