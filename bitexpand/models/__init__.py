"""Architectures that estimate the plate inside its bins, their table and their files.

``base``        what the engine may rely on: ``PlateModel``
``pyramid``     the shipped network, ``Pyramid``
``unet``        the classic large one, ``UNet``
``dequant``     safe dequantisation, ``DequantUNet``, small and bounded
``convnext``    the same, large: ``ConvNextUNet``
``smooth``      the filter for those who may not use a network, ``Smooth``, and ``edge_gated_blur``
``checkpoint``  weights files: ``save`` and ``read``
``registry``    the models by name: ``names``, ``spec`` and ``load``
``table``       their names and bounds, without torch

Everything else is pure torch: (N, C, H, W) tensors in, tensors out.
"""
