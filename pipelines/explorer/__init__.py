"""The latent explorer: a page on loopback that shows what a registered model can do.

`views` describes what a page shows, as data that fits into a link. `looking` turns a view and a pulled model into one
request to `predict`, and its answer into panels. Only `page` knows of a browser.
"""
