#!/bin/sh
# Make the bundled classifier: `sh examples/make_classifier.sh FOLDER`, half an hour on one core.
# Debian packages: fonts-noto-cjk fonts-arphic-ukai fonts-arphic-uming fonts-wqy-zenhei unicode-data.
#
# A classifier needs radicals but no definitions. Characters without a definition get a dummy one here, so that they are
# drawn too: half as many characters again to learn from.
set -eu
folder=${1:-classifier}
unicode=/usr/share/unicode
mkdir -p "$folder/unihan"
bzcat "$unicode/Unihan_IRGSources.txt.bz2" > "$folder/unihan/Unihan_IRGSources.txt"
bzcat "$unicode/Unihan_Readings.txt.bz2" > "$folder/unihan/Unihan_Readings.txt"
awk -F '\t' '
    NR == FNR { if ($2 == "kDefinition") defined[$1]; next }
    $2 == "kRSUnicode" && !($1 in defined) { print $1 "\tkDefinition\tnot defined" }
' "$folder/unihan/Unihan_Readings.txt" "$folder/unihan/Unihan_IRGSources.txt" > "$folder/undefined.txt"
cat "$folder/undefined.txt" >> "$folder/unihan/Unihan_Readings.txt"
glyffctl prepare /usr/share/fonts/opentype/noto /usr/share/fonts/truetype/arphic /usr/share/fonts/truetype/wqy \
    --definitions "$folder/unihan/Unihan_Readings.txt" --size 64 --no-alternate-captions --out "$folder/data"
glyffctl evaluate --train-classifier --data "$folder/data" --classifier "$folder/classifier.safetensors"
