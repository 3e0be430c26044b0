"""Whether two engines say the same: pairs of answers, judged one by one and summed up with how sure that is. Pure."""
