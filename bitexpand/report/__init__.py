"""The QC page: one HTML file, opened from disk without a network, that shows what an expansion did.

::

    qc ──► facts ◄── pictures, view, charts
                │
                ▼
              page ──► report.html

``qc`` reads the frames and fills the dataclasses of ``facts``; ``page`` turns them into the file. What the browser
computes (exposure, gamma, stretch) it computes from 16-bit values, by ``page.js``.
"""
