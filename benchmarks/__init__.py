"""What bitexpand claims, as commands that print ratios and gains."""
