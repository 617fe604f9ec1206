"""How long a frame takes, stage by stage and end to end, beside other tools and beside what the machine can do."""
