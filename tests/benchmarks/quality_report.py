BASELINES = ("LR", "RF", "HGB", "MLP")
def show(*a): pass
