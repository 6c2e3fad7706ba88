"""The composition root: which adapter stands behind which port, one function a process."""
