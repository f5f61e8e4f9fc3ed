"""The command line: main.py and one file per verb. Each verb calls a function of cumulant.api."""
