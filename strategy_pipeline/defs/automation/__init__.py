"""When things run by themselves or by name: jobs, the daily schedule, the publication sensor."""
