"""For people who test their functions with Lambent: a pytest fixture (`engine.testing.pytest_plugin`)."""
