#!/bin/bash
cd /work/wt/sim; cargo test --lib --no-run 2>&1 | grep -E "^(error|warning)|-->" -A8 | head -60; B=$(ls -t target/debug/deps/homelab_dr-* | grep -v '\.d$' | head -1); cp $B /tmp/simbin
