"""Draw with diffusers' network in the sizes that the reference publishes, with guidance: COUNT STEPS.

Random weights: what they are does not change what they cost. `yue-here/glyffuser`, its train notebook: channels
128-256-512-512, attention at 32×32 with text of width 1024, two layers a block; DPM-Solver++ (2M) as its pipeline has.
Prints the seconds of each step.
"""

import sys
import time

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel

count, steps = int(sys.argv[1]), int(sys.argv[2])
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
network = UNet2DConditionModel(
    sample_size=128,
    in_channels=1,
    out_channels=1,
    layers_per_block=2,
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    cross_attention_dim=1024,
).to(device)
network.eval()
scheduler = DPMSolverMultistepScheduler(num_train_timesteps=1000)
scheduler.set_timesteps(120)
text = torch.randn(2 * count, 8, 1024, device=device)
x = torch.randn(count, 1, 128, 128, device=device)
with torch.no_grad():
    for t in scheduler.timesteps[:steps]:
        began = time.perf_counter()
        away, towards = network(torch.cat([x, x]), t, encoder_hidden_states=text).sample.chunk(2)
        x = scheduler.step(away + 4 * (towards - away), t, x).prev_sample
        if device == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - began, flush=True)
