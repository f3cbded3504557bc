"""The verdict on runs against an oracle: drawn configurations, labelled by what their models do, and repaired by advice."""
