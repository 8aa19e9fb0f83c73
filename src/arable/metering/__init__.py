"""What use costs: rating and bills. Pure, and exact: no sum is rounded before it is shown."""
