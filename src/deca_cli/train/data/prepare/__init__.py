"""From photos and videos of people to a dataset: find, fit, cut, mask, judge, store."""
