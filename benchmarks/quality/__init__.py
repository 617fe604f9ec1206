"""What the models win over doing nothing, by the command line, and what other filters win beside them.

``python -m benchmarks.quality [--models A,B] [--only SECTION,...] [--prepared FOLDER] [--depth half]``

Every gain is in dB: 10 log10(MSE of the 8-bit plate / MSE of the result), both against the truth before it was
quantised, in LSB of 8 bits. A stratum is told where it has at least 2 % of the plate's samples; what the strata are
stands in :mod:`bitexpand.metrics.strata`. Truth beyond code 0 or 255 is clipped, as no bin reaches there.
Our models run as their users run them, ``bitexpand batch`` from PNG to EXR, float unless ``--depth half``.
"""
