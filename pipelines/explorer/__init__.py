"""The latent explorer: a page on loopback that shows what a registered model can do.

`views` says what a person looks at, as data that fits into a link; `looking` turns a view and a pulled model into one
request to `predict` and what comes of it. Neither knows of a browser: all that does is in `page`.
"""
