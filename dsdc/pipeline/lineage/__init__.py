"""Why an answer is what it is, what became of a document, and whether both can be made once more.

`find` turns what somebody typed into a prediction or a document, `told` tells what the store knows of it, and `verify`
computes an answer again from the stored bytes.
"""
