"""MinAtar: five Atari games on a board of 10 x 10 cells; ``env`` lists them, and each has a file of its rules."""
