"""Trained weights (`NAME.theta`) and their cards (`NAME.json`)."""
