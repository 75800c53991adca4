"""Published encoders against stored outputs of their authors' code, on generated weights."""
