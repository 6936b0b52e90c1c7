"""The additive network: one weight for each pixel and one for its square, solved for exactly where samples are few."""
