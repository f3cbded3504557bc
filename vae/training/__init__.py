"""The training of a model, in plain torch; `distributed` runs it on Ray Train."""
