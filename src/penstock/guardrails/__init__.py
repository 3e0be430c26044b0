"""What may go into a model and come out of it: rules as small steps over text. Pure: bytes and values in and out, no I/O."""
