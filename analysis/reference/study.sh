#!/usr/bin/env bash
# The reference study, from photographs to figures. What came of it stands in analysis/reference/README.md.
#
#     make setup
#     analysis/reference/study.sh DATA [WORK]
#
# DATA  a folder with DIV2K_crops/HR, BSDS500/{train,val,test}, Set14/HR, Set5/HR (images), and weights/ (the published
#       features of AlexNet and SqueezeNet: study/prepare.py weights --features-only --output DATA/weights)
# WORK  what it writes (runs/reference); stopped, the same command goes on where it was.
#
# On two cores (EPYC, Zen 5): an hour for the search, three quarters of an hour for the repetition. Further options of
# study/sweep.py go through ARGS, such as ARGS="--pack auto" where there is a GPU, and PRECISION=fp32 where bfloat16 is slow.
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=$(realpath "$1")
WORK=${2:-runs/reference}
PYTHON=.venv/bin/python
PRECISION=${PRECISION:-bf16}
read -r -a ARGS <<< "${ARGS:-}"

# 1. Photographs. Twenty of BSDS500's test images are what the search evaluates by; BSDS500's val, Set14 and Set5 are seen
#    by nothing before step 3.
if [ ! -e "$WORK/test.arrow" ]; then
    mkdir -p "$WORK/photographs/train" "$WORK/photographs/valid"
    cp "$DATA"/DIV2K_crops/HR/* "$DATA"/BSDS500/train/*.jpg "$DATA"/BSDS500/test/*.jpg "$WORK/photographs/train"
    mv "$WORK"/photographs/train/{104010,112090,147080,196040,201080,202000,217090,223060,226060,23050}.jpg \
       "$WORK"/photographs/train/{259060,29030,309040,344010,45000,69000,70090,80090,81090,97010}.jpg \
       "$WORK/photographs/valid"
    $PYTHON study/prepare.py pack "$WORK/photographs/train" --output "$WORK/train.arrow"
    $PYTHON study/prepare.py pack "$WORK/photographs/valid" --output "$WORK/valid.arrow"
    $PYTHON study/prepare.py pack "$DATA/BSDS500/val" "$DATA/Set14/HR" "$DATA/Set5/HR" --output "$WORK/test.arrow"
    rm -r "$WORK/photographs"
fi

# 2. The search: 48 trials, six ways to measure fidelity in turn.
$PYTHON study/sweep.py --space reference --precision "$PRECISION" --data "$WORK/train.arrow" --val "$WORK/valid.arrow" \
    --weights "$DATA/weights" --output "$WORK/search" --resume "${ARGS[@]}"

# 3. The best two settings of each way again, with three seeds that they never had, evaluated on the test sets.
$PYTHON study/sweep.py --space reference --precision "$PRECISION" --data "$WORK/train.arrow" --val "$WORK/test.arrow" \
    --weights "$DATA/weights" --output "$WORK/repeat" --repeat "$WORK/search" \
    --repeat-members 2 --interpolate 1 --resume "${ARGS[@]}"

# 4. By test set, trial for trial, for each trial may compute as much; and at their ends, for those that train on more
#    pixels in that time were evaluated more often (eval_schedule.evaluate_share).
for set in BSDS500/val Set14/HR Set5/HR; do
    name=${set%/HR}
    $PYTHON analysis/report.py "$WORK/repeat" --equal trials --last-points --images "$DATA/$set" --output "$WORK/by-set/${name%/val}"
done
$PYTHON analysis/report.py "$WORK/repeat" --equal trials --last-points --output "$WORK/by-set/all"
$PYTHON analysis/report.py "$WORK/repeat" --equal device-seconds --last-points --output "$WORK/by-set/all-with-upstream"

# 5. How much of the original each keeps behind one and the same auto-encoder, and after shrinking.
AUTOENCODER=$($PYTHON - "$WORK/search" <<'END'
import sys, pandas
trials = pandas.read_parquet(f"{sys.argv[1]}/points.parquet").query("`config.recipe` == 'aesop-3'")
print(trials["artifact.autoencoder"].dropna().iloc[0])
END
)
$PYTHON study/evaluate.py bicubic "$WORK"/artifacts/fidelity-* "$WORK"/repeat/trials/* --hr "$DATA/Set14/HR" "$DATA/Set5/HR" \
    --name Set14 --name Set5 --metrics psnr_y lpips_alex lr_psnr ae_psnr --weights "$DATA/weights" \
    --autoencoder "$WORK/artifacts/$AUTOENCODER" --output "$WORK/kept.csv"

# 6. What each loss says of texture that is wrong, by bottleneck.
$PYTHON analysis/reference/texture_penalty.py "$WORK/artifacts" --hr "$DATA/Set14/HR" "$DATA/Set5/HR" --side 144 --out "$WORK/texture.png"

# 7. The small part of all that which is kept in the repository.
$PYTHON analysis/reference/collect.py "$WORK"
