"""The Kubeflow pipeline, its pinned specs and its compiled form."""
