"""Pictures of trainings, from the metrics that nequip-train writes."""
