"""Networks: the interface to the rest of the program, the table of them, and each in a file of its own."""

import glyffctl.core.networks.autoencoder
import glyffctl.core.networks.classifier
import glyffctl.core.networks.contrastive
import glyffctl.core.networks.dit
import glyffctl.core.networks.generator
import glyffctl.core.networks.unet
import glyffctl.core.networks.upscaler
