"""The other half of bitexpand: train its models on your own plates.

::

    prepare                                             run
    sources ──► linear ──► log ──► plates + manifest ──► dataset ──► loop ──► checkpoints
    files       checks     OCIO    split, statistics      augment     phases   evaluate, export
                                                           degrade     losses

``sources`` finds pictures and fetches them; ``linear`` reads them into scene-linear light and refuses what is none;
``prepare`` encodes them into one log space and writes plates, a manifest and statistics. ``dataset`` cuts crops out
of them and makes the 8-bit input on the fly, with the same ``bitexpand.code_values`` that inference uses.
``loop`` trains phase after phase. ``bitexpand`` never imports this package.
"""
