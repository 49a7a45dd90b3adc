"""The floor: the same hops as ours with none of the features, to hold our figures against."""
