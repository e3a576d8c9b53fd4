"""`python -m labutils.figures`."""

from labutils.figures import main

main()
