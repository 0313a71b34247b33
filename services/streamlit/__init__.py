"""The web page: sign in, upload, see the class and how sure the model is, correct it.

Named like the package it is written with, but always imported as services.streamlit.
"""
