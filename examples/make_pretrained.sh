#!/usr/bin/env bash
# Make the files in glyffctl/pretrained again: the text encoder, the model, its student and the upscaler. The encoder takes
# some two hours on two CPU cores, the model some minutes on a GPU; without a GPU the model takes days.
#
#   examples/make_pretrained.sh TEACHER GLOSSES WORK
#
# TEACHER  folder of all-MiniLM-L6-v2, or of another sentence encoder
# GLOSSES  WordNet as lines of comma-separated lemmas, TAB, gloss, compressed with gzip
# WORK     folder for data and runs (7 GB); start the script again to resume a stopped run
set -euo pipefail
teacher=$1 glosses=$2 work=$3
fonts=/usr/share/fonts/opentype/noto
home=$(cd "$(dirname "$0")/.." && pwd)

[ -d "$work/data" ] || glyffctl prepare "$fonts/NotoSansCJK-Regular.ttc" --out "$work/data"
distil=(python "$home/examples/distil_encoder.py" --teacher "$teacher" --glosses "$glosses" --data "$work/data" --answers "$work/answers")
[ -d "$work/plain" ] || "${distil[@]}" --minutes 120 --out "$work/plain"
[ -d "$work/encoder" ] || "${distil[@]}" --minutes 20 --rate 1e-3 --from "$work/plain" --out "$work/encoder" \
    --meaning 0.5 --radicals 0.5 --common 20 --lemmas 1
mkdir -p "$home/glyffctl/pretrained/encoder"
cp "$work/encoder"/* "$home/glyffctl/pretrained/encoder/"

glyffctl train --preset gpu --gpus 1 --data "$work/data" --encoder bundled --out "$work/run"
python "$home/examples/ship_model.py" "$work/run" "$home/glyffctl/pretrained/model.safetensors"
python "$home/examples/measure_schedule.py" bundled "$work/data" "$home/glyffctl/pretrained/entropic.toml"

# The classifier of noisy glyphs that leads it to a radical: an hour on one CPU core.
glyffctl train --preset classifier --data "$work/data" --out "$work/guide"
python "$home/examples/ship_model.py" "$work/guide" "$home/glyffctl/pretrained/guide.safetensors"
python "$home/examples/measure_classifiers.py" "$work/data" > "$home/glyffctl/pretrained/noisy_accuracy.json"

# Its student that draws in a few passes: over two hours on two CPU cores, minutes on a GPU.
rm -f "$home/glyffctl/pretrained/few-step.safetensors"
glyffctl train --preset few-step --minutes 140 --from bundled --data "$work/data" --out "$work/student"
cp "$work/student/few-step.safetensors" "$home/glyffctl/pretrained/"

# The upscaler takes an hour on a CPU core, and 6 GB in WORK.
[ -d "$work/data-512" ] || glyffctl prepare "$fonts/NotoSansCJK-Regular.ttc" --size 512 --out "$work/data-512"
glyffctl train --preset upscaler --minutes 55 --data "$work/data-512" --out "$work/upscaler"
python "$home/examples/ship_model.py" "$work/upscaler" "$home/glyffctl/pretrained/upscaler.safetensors"
