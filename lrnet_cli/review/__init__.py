"""The review page: a person confirms or corrects many labels in a browser, and saves them as a list."""
