"""Lay pictures out in the plane with umap-learn, seeded, and nothing else: PICTURES.npy OUT."""

import sys

import numpy as np
import umap

pictures, out = sys.argv[1:]
data = np.load(pictures)
np.save(out, umap.UMAP(random_state=0).fit_transform(data.reshape(len(data), -1)))
