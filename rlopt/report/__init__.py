"""Reports: what runs on disk say about optimizers, as a page, figures and tables."""
