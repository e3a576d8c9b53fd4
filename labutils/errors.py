"""The one exception that labutils raises for mistakes a user can mend."""


class LabError(Exception):
    """One clear sentence that says what is wrong and what to do."""
