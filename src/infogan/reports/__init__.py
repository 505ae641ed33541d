"""Reports: figures, charts, HTML pages, model cards and notebook output of trained models and runs."""
