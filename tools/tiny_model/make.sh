#!/bin/sh
# Make the tiny model from nothing: train, export, evaluate. Run it in this folder.
set -eu
export OMP_WAIT_POLICY=PASSIVE
python train.py
python train.py --init ../../build/tiny_model/model.pt --steps 600 --peak 1e-3 --seed 8
python export.py
python check_tokenizer.py
python evaluate.py
