"""Warfarin dosing on simulated patients: model, virtual cohort, harm, environment, protocols and trial.

Research and education only. Simulated patients. Not a medical device.
"""

NOTICE = "Research and education only. Simulated patients. Not a medical device."
