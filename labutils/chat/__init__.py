"""Chat with a served model: in Python, in a notebook, on a page of its own.

`conversation` talks to the server, `failures` says what went wrong, `panel` shows both in a
notebook, `page` shows the panel in a browser without one (`python -m labutils.chat`).
"""
