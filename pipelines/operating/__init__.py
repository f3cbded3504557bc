"""Everything that lets flows run without a person at the terminal: deployments, triggers, approvals, and their status."""
