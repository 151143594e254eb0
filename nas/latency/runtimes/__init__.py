"""What makes model files of modules: one file a runtime, behind one contract."""
