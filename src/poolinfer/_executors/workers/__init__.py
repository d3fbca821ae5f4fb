"""Worker processes as the host sees them: started, supervised, replaced."""
