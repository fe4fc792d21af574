"""Kubeflow components, one folder a stage. A body is a few lines that call `fundus_r1`.

A component gets its slice of the science and the placement as JSON text, and hands on a small
``record.json`` artifact that says where the output lies in the store. Bulk data never travels
as a Kubeflow artifact, and Kubeflow's own cache is off: each step asks our store.
"""

IMAGE = "fundus-r1:0.1.0"
"""The image of all steps unless the pipeline is compiled with another; see images/README.md."""
