"""`make soak`: the gateway at most of one core for a long time, with engines that fail at random and clients that leave."""
