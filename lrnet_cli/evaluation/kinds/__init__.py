"""The kinds of corruption that evaluation measures: a first twelve, and further ones."""
