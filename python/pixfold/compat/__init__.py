"""Drop-ins for packages that people come from: their names and signatures, on pixfold's ops."""
