"""Fundus-R1: training a fundus-reading multimodal model on public data (arXiv 2604.08322).

The package holds what the paper does; Kubeflow Pipelines are described outside it, in
``components/`` and ``pipelines/``.
"""

__version__ = "0.1.0"
