"""What pools of all kinds share: the future of a call, and a `submit` that is not ours."""
