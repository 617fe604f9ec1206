"""How long a frame takes, stage by stage and end to end, beside other tools and beside what the machine can do."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before PyTorch is imported
