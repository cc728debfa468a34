"""What people look at when a sweep is over: figures, their numbers, and one page that tells it all."""
