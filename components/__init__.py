"""Kubeflow components, one folder a stage. A body is a few lines that call `fundus_r1`.

A component gets its slice of the science and the placement as JSON text, and hands on a small
``record.json`` artifact that says where the output lies in the store. Bulk data never travels
as a Kubeflow artifact, and Kubeflow's own cache is off: each step asks our store.
"""

IMAGE = "fundus-r1"
"""Stands for the image of a step until a pipeline gives it one of images/images.lock."""
